"""An experiment: one run of the pipeline in a copy of the project, followed, and perhaps stopped.

It is named by its parameters, so where it runs and beside how many others changes no result. What
it leaves is the same everywhere: a ref in the project's repository, its outs in DVC's cache, its
journal among the project's.
"""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tinyllm.app.experiments.copies import Snapshot
from tinyllm.app.experiments.follow import Follower, Judge, Loss
from tinyllm.app.experiments.keeper import Keeper, Order
from tinyllm.app.experiments.space import override
from tinyllm.app.tracking.lineage import git
from tinyllm.app.tracking.outs import read_out
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.events import Advance
from tinyllm.base.work import ATTEMPTS

# experiments are compared without exports and registration
LAST_STAGE = "evaluate"
# the message of a run whose loss or gradient is not finite
_DIVERGED = re.compile(r"became (nan|-?inf) at step")
# how DVC says that a stage was killed, and that a file is not in the copy
_KILLED = re.compile(r"exited with -\d+")
_NOT_IN_COPY = re.compile(r"No such file or directory: '[^']+/copies/[^/']+/([^']+)'")
_POLL = 0.3
State = Literal["finished", "stopped", "diverged", "failed"]


@dataclass(frozen=True)
class Outcome:
    """How an experiment ended; `fingerprint` is its run's, if that started.

    `diverged`: the loss is not finite; `failed`: something else went wrong; `stopped`: the judge
    found it hopeless, by its last loss in `losses`.
    """

    name: str
    state: State
    train: dict[str, Any] = field(default_factory=dict)
    test: dict[str, Any] = field(default_factory=dict)
    losses: tuple[Loss, ...] = ()
    reason: str = ""
    fingerprint: str | None = None


@dataclass(frozen=True)
class Experiment:
    """What to run; all paths are absolute.

    Attributes:
        name: of the experiment; an existing one is only read.
        point: parameters to set.
        snapshot: of the project.
        place: folder for its log, `NAME.log`, and its copy.
        overrides: further parameters, as `dvc exp run -S` takes them.
        environment: variables for the stages.
        judge: may stop it.
        target: the last stage; the result is an experiment only if that is `LAST_STAGE`.
    """

    name: str
    point: Mapping[str, Any]
    snapshot: Snapshot
    place: str
    overrides: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    judge: Judge | None = None
    target: str = LAST_STAGE

    @property
    def size(self) -> int:
        """Each counts as one."""
        return 1

    @property
    def log(self) -> Path:
        """The file of DVC's output."""
        return Path(self.place) / f"{self.name}.log"

    @property
    def copy(self) -> Path:
        """Where it runs."""
        return Path(self.place) / "copies" / self.name

    def order(self) -> Order:
        """What its keeper must know."""
        # of two values for a parameter DVC takes the last: the point's, which counts up the seeds
        chosen = (*self.overrides, *(override(key, value) for key, value in self.point.items()))
        return Order(
            name=self.name,
            snapshot=self.snapshot,
            folder=str(self.copy),
            overrides=chosen,
            target=self.target,
            keep=self.target == LAST_STAGE,
            log=str(self.log),
            environment=self.environment,
        )


def run_experiment(experiment: Experiment, advance: Advance = lambda _count: None) -> Outcome:
    """Run it, unless that has been done; a job for `tinyllm.base.jobs`.

    One that a process left running is waited for; one that was killed resumes from its
    checkpoint, and one whose processes are killed is tried again.
    """
    outcome = None
    for _ in range(ATTEMPTS):
        outcome = _attempt(experiment)
        if outcome is not None:
            break
    advance(experiment.size)
    return outcome or Outcome(
        experiment.name,
        "failed",
        reason=f"its processes were killed {ATTEMPTS} times, perhaps for want of memory",
    )


def _attempt(experiment: Experiment) -> Outcome | None:
    """Run it once; None if its processes were killed."""
    try:
        if (known := read_outcome(experiment)) is not None:
            return known
    except TinyLLMError as error:
        return Outcome(experiment.name, "failed", reason=str(error))
    experiment.log.parent.mkdir(parents=True, exist_ok=True)
    experiment.log.write_bytes(b"")
    journals = Path(experiment.snapshot.root) / ".tinyllm" / "journal"
    follower = Follower(experiment.name, journals, experiment.log.stat().st_mtime - 1)
    losses: list[Loss] = []
    verdict = None
    with Keeper(experiment.order()) as keeper:
        while keeper.wait(_POLL):
            new = follower.losses()
            losses += new
            if new and verdict is None and (verdict := _verdict(experiment, losses)) is not None:
                keeper.stop()
    if keeper.code == 0:
        return read_outcome(experiment, follower.fingerprint) or Outcome(
            experiment.name, "finished"
        )
    run = follower.fingerprint
    if verdict is not None:
        return Outcome(experiment.name, "stopped", losses=tuple(losses[:verdict]), fingerprint=run)
    reason = _reason(experiment.log)
    if keeper.code is None or keeper.code < 0 or _KILLED.search(_text(experiment.log)):
        return None
    state: State = "diverged" if _DIVERGED.search(reason) else "failed"
    return Outcome(experiment.name, state, reason=reason, fingerprint=run)


def _verdict(experiment: Experiment, losses: Sequence[Loss]) -> int | None:
    return None if experiment.judge is None else experiment.judge.verdict(losses)


def read_outcome(experiment: Experiment, fingerprint: str | None = None) -> Outcome | None:
    """The outcome of an experiment that ran to its end; None if there is none.

    It is the same as that of a run that was followed, so a hopeless one counts as stopped.

    Raises:
        TinyLLMError: the experiment of this name is not ours.
    """
    snapshot, name = experiment.snapshot, experiment.name
    ref, root = snapshot.ref(name), snapshot.root
    if experiment.target != LAST_STAGE or not (
        commit := git("-C", root, "rev-parse", "--verify", "--quiet", ref)
    ):
        return None
    paths = ("train/metrics.json", "evaluate/metrics.json", "train/history.csv")
    texts = [git("-C", root, "show", f"{commit}:./reports/{path}") for path in paths]
    if not all(texts):
        raise TinyLLMError(
            f"there is an experiment {name} already, without results; remove it with "
            f"'dvc exp remove {name}'"
        )
    train, test = (json.loads(text) for text in texts[:2])
    rows = csv.DictReader(io.StringIO(texts[2]))
    losses = tuple((int(row["step"]), float(row["val_loss"])) for row in rows)
    known = fingerprint or _trained_as(commit, root)
    if (verdict := _verdict(experiment, losses)) is not None:
        return Outcome(name, "stopped", losses=losses[:verdict], fingerprint=known)
    return Outcome(name, "finished", train, test, losses, fingerprint=known)


def _trained_as(commit: str, root: str) -> str | None:
    """The fingerprint of a run that DVC restored from its cache."""
    config = json.loads(read_out("models/checkpoint/config.json", commit, Path(root)) or "{}")
    found = config.get("training", {}).get("fingerprint")
    return None if found is None else str(found)


def _text(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")


def _reason(log: Path) -> str:
    """The error message of DVC or a stage."""
    lines = _text(log).splitlines()
    faults = [line for line in lines if line.startswith("Error: ")]
    faults = faults or [line for line in lines if line.lower().startswith("error: ")] or lines[-1:]
    if faults and (missing := _NOT_IN_COPY.search(faults[-1])):
        return (
            f"the copy that experiments run in lacks {missing[1]}, since no commit holds it; "
            f"commit it: git add {missing[1]} && git commit"
        )
    if not faults:
        return f"it does not say why; its output is in {log}"
    return faults[-1].partition(": ")[2] or faults[-1]
