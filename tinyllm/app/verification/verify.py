"""Does the pipeline, run again from scratch, write what dvc.lock says?"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from tinyllm.app.params import load_params
from tinyllm.app.repository import find_repository
from tinyllm.app.tracking.journal import Journal
from tinyllm.app.tracking.lineage import environment_tags
from tinyllm.app.tracking.patch import git_patch
from tinyllm.app.tracking.repeats import repeated_values
from tinyllm.app.verification.changes import changed_since_lock
from tinyllm.app.verification.compare import Difference, compare_paths, first_differing_step
from tinyllm.app.verification.figures import Figure, compare_figures, false_facts
from tinyllm.app.verification.lock import LockedOut, LockedStage, read_lock
from tinyllm.app.verification.rebuild import clean_clone, copy_sources, run_pipeline
from tinyllm.app.verification.reference import Reference, depends_on_arithmetic, find_reference
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.files import read_json
from tinyllm.kernels.config import NumericsConfig
from tinyllm.kernels.machine import possible_here

CHECKPOINT = Path("models/checkpoint")
# what decides the noise between seeds; the arithmetic does not
_DECISIVE = ("prepare", "tokenize", "model", "train")


@dataclass
class Verification:
    """What was found.

    `differences` are those that must not be. Where bytes are not portable, `drifted` are outs
    with other bytes, as fast arithmetic writes them, and `figures` say what that means.
    """

    outs: int = 0
    portable: bool = True
    changed: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    drifted: list[str] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    first_stage: str | None = None
    first_step: int | None = None
    environment: dict[str, str] = field(default_factory=dict)
    original_environment: dict[str, str] | None = None

    @property
    def verdict(self) -> Literal["same bytes", "statistically the same", "different"]:
        """The verdict; a change since dvc.lock makes another pipeline, whatever it writes."""
        if self.changed or self.differences or not all(one.agrees for one in self.figures):
            return "different"
        return "statistically the same" if self.drifted else "same bytes"

    @property
    def reproduced(self) -> bool:
        """Whether outs and dependencies are as in dvc.lock, as nearly as the arithmetic allows."""
        return self.verdict != "different"

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values."""
        figures = [figure.to_dict() for figure in self.figures]
        own = {**asdict(self), "figures": figures}
        return {"verdict": self.verdict, "reproduced": self.reproduced, **own}


def verify(
    root: Path,
    run: Callable[[Path], None] = run_pipeline,
    find_changes: Callable[[Path], list[str]] = changed_since_lock,
) -> Verification:
    """Run the working tree's pipeline in a clean clone and compare every out with dvc.lock.

    Where the arithmetic is portable, the bytes have to be the same. Elsewhere those of the stages
    that do not compute have to be, and the figures have to agree within the noise of the seeds.
    Outs that are here are compared too; there need not be any, as in a fresh clone.

    Args:
        root: the working tree.
        run: runs the pipeline in a clone.
        find_changes: describes what differs from dvc.lock.

    Raises:
        TinyLLMError: there is no lock or no commit, or the pipeline fails in the clone.
    """
    params = load_params(root / "params.yaml")
    numerics = params["numerics"]
    assert isinstance(numerics, NumericsConfig)  # noqa: S101 - by its name
    report = Verification(environment=environment_tags())
    report.portable = possible_here(numerics).mode == "portable"
    expected = find_reference(root, portable=report.portable)
    commit = find_repository(root).commit
    report.changed = find_changes(root)
    with clean_clone(root, commit, git_patch()) as clone:
        copy_sources(root, clone)
        run(clone)
        rebuilt = read_lock(clone)
        for stage, entry in expected.stages.items():
            made = rebuilt.get(stage, LockedStage())
            exact = report.portable or not depends_on_arithmetic(entry)
            for out in entry.outs:
                report.outs += 1
                found = _compare_out(expected, out, made, clone)
                written = any(other.path == out.path for other in made.outs)
                if found and written and not exact:
                    report.drifted.append(f"{stage}: {out.path}")
                elif found:
                    report.first_stage = report.first_stage or stage
                    report.differences += [f"{stage}: {difference}" for difference in found]
        if report.drifted:
            report.differences += false_facts(expected.text, clone)
            report.figures = compare_figures(
                expected.text, clone, lambda metric: repeated_values(params, _DECISIVE, metric)
            )
        if report.first_stage:
            report.first_step = _first_step(root, clone)
    if report.differences:
        report.original_environment = _original_environment(root)
    return report


def _compare_out(
    expected: Reference, out: LockedOut, rebuilt: LockedStage, clone: Path
) -> list[Difference]:
    path = out.path
    found = next((other for other in rebuilt.outs if other.path == path), None)
    here = expected.place(path)
    files = compare_paths(here, clone / path, path) if here else []
    if found is not None and found.md5 == out.md5 and not files:
        return []
    where = "here as in the clone" if here else "in the clone; it is not here"
    return files or [Difference(path, f"differs from dvc.lock, {where}")]


def _fingerprint(folder: Path) -> str | None:
    try:
        return str(read_json(folder / CHECKPOINT / "config.json")["training"]["fingerprint"])
    except (TinyLLMError, KeyError, TypeError):
        return None


def _journal(folder: Path) -> Journal | None:
    name = _fingerprint(folder)
    return Journal(folder / ".tinyllm" / "journal", name) if name else None


def _first_step(root: Path, clone: Path) -> int | None:
    original, rebuilt = _journal(root), _journal(clone)
    return first_differing_step(original, rebuilt) if original and rebuilt else None


def _original_environment(root: Path) -> dict[str, str] | None:
    """The environment that the original run recorded in its journal, if it is here."""
    journal = _journal(root)
    events = journal.events() if journal else ()
    for event, _ in events:
        if event["kind"] == "run" and event["stage"] == "train":
            tags = event["tags"].items()
            return {k: v for k, v in tags if k == "cpu" or k.startswith("version.")}
    return None
