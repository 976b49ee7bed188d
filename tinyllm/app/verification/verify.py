"""Does the pipeline, run again from scratch, write what dvc.lock says?"""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tinyllm.app.repository import find_repository
from tinyllm.app.tracking.journal import Journal
from tinyllm.app.tracking.lineage import environment_tags
from tinyllm.app.tracking.patch import git_patch
from tinyllm.app.verification.compare import Difference, compare_paths, first_differing_step
from tinyllm.app.verification.lock import LockedOut, LockedStage, read_lock
from tinyllm.app.verification.rebuild import clean_clone, copy_sources, run_pipeline
from tinyllm.base.environment import child_environment
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.files import read_json
from tinyllm.base.params_file import read_params

CHECKPOINT = Path("models/checkpoint")


@dataclass
class Verification:
    """What was found; reproduced if `changed` and `differences` are empty."""

    outs: int = 0
    changed: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    first_stage: str | None = None
    first_step: int | None = None
    environment: dict[str, str] = field(default_factory=dict)
    original_environment: dict[str, str] | None = None

    @property
    def reproduced(self) -> bool:
        """Whether the outs and what they depend on are as in dvc.lock."""
        return not self.changed and not self.differences

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values."""
        return {"reproduced": self.reproduced, **asdict(self)}


def changed_since_lock(root: Path) -> list[str]:
    """Data, code, parameters and outs that differ from dvc.lock here, described in words.

    Raises:
        TinyLLMError: `dvc status` fails.
    """
    result = subprocess.run(
        [sys.executable, "-m", "dvc", "status", "--json"],
        cwd=root,
        env=child_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    try:
        status = json.loads(result.stdout or "{}") if result.returncode == 0 else None
    except ValueError:
        status = None
    if not isinstance(status, dict):
        said = " ".join((result.stderr or result.stdout).split())
        raise TinyLLMError(f"'dvc status' failed: {said.removeprefix('ERROR: ')}")
    return describe_changes(root, status)


def verify(
    root: Path,
    run: Callable[[Path], None] = run_pipeline,
    find_changes: Callable[[Path], list[str]] = changed_since_lock,
) -> Verification:
    """Run the working tree's pipeline in a clean clone and compare every out with dvc.lock.

    Outs that are here are compared too; there need not be any, as in a fresh clone.

    Args:
        root: the working tree.
        run: runs the pipeline in a clone.
        find_changes: describes what differs from dvc.lock.

    Raises:
        TinyLLMError: there is no lock or no commit, or the pipeline fails in the clone.
    """
    expected = read_lock(root)
    commit = find_repository(root).commit
    report = Verification(environment=environment_tags())
    report.changed = find_changes(root)
    with clean_clone(root, commit, git_patch()) as clone:
        copy_sources(root, clone)
        run(clone)
        rebuilt = read_lock(clone)
        for stage, entry in expected.items():
            made = rebuilt.get(stage, LockedStage())
            for out in entry.outs:
                report.outs += 1
                _compare_out(report, stage, out, made, (root, clone))
        if report.first_stage:
            report.first_step = _first_step(root, clone)
    if report.differences:
        report.original_environment = _original_environment(root)
    return report


def describe_changes(root: Path, status: dict[str, Any]) -> list[str]:
    """DVC's status in words; outs that are not here do not count."""
    lock = read_lock(root)
    outs = {out.path for entry in lock.values() for out in entry.outs}
    not_here = {path for path in outs if not (root / path).exists()}
    found = []
    for stage, changes in status.items():
        if stage.endswith(".dvc"):
            continue  # a raw text; if a stage reads it, it is a dependency of that stage
        for change in changes:
            if isinstance(change, str):
                found.append(f"{stage}: {change}")
                continue
            for kind, items in change.items():
                what = "out" if kind == "changed outs" else "dependency"
                paths = {path: state for path, state in items.items() if isinstance(state, str)}
                found += [
                    f"{stage}: {what} {path} is {state}"
                    for path, state in paths.items()
                    if path not in not_here
                ]
                for file in items.keys() - paths.keys():
                    locked = lock.get(stage, LockedStage()).params.get(file, {})
                    found += [f"{stage}: {line}" for line in _changed_params(root / file, locked)]
    return found


def _changed_params(file: Path, locked: dict[str, Any]) -> list[str]:
    """The parameters of the locked sections that have changed."""
    now = _flat(read_params(file))
    before = _flat(locked)
    keys = {key for key in now if key.partition(".")[0] in locked} | before.keys()
    return [
        f"parameter {key} is {now.get(key)!r}, in dvc.lock {before.get(key)!r}"
        for key in sorted(keys)
        if now.get(key) != before.get(key)
    ]


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        nested = _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {}
        flat.update(nested or {f"{prefix}{key}": value})
    return flat


def _compare_out(
    report: Verification,
    stage: str,
    out: LockedOut,
    rebuilt: LockedStage,
    folders: tuple[Path, Path],
) -> None:
    root, clone = folders
    path = out.path
    found = next((other for other in rebuilt.outs if other.path == path), None)
    is_here = (root / path).exists()
    files = compare_paths(root / path, clone / path, path) if is_here else []
    if found is not None and found.md5 == out.md5 and not files:
        return
    report.first_stage = report.first_stage or stage
    if not files:
        where = "here as in the clone" if is_here else "in the clone; it is not here"
        files = [Difference(path, f"differs from dvc.lock, {where}")]
    report.differences += [f"{stage}: {difference}" for difference in files]


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
