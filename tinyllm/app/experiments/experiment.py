"""Runs one DVC experiment in a copy of the repository, follows its training, and may stop it."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil

from tinyllm.app.experiments.space import override
from tinyllm.app.repository import find_repository
from tinyllm.app.tracking.journal import Journal
from tinyllm.app.tracking.lineage import git
from tinyllm.app.tracking.outs import read_out
from tinyllm.app.tracking.store import journal_folder
from tinyllm.base.environment import child_environment
from tinyllm.base.files import working_folder

# experiments are compared without exports and registration
_LAST_STAGE = "evaluate"
# the message of a run whose loss or gradient is not finite
_DIVERGED = re.compile(r"became (nan|-?inf) at step")
# how DVC says that a file is not in the copy
_NOT_IN_COPY = re.compile(r"No such file or directory: '[^']+/exps/standalone/\w+/([^']+)'")
_POLL = 0.3
_PATIENCE = 60.0
State = Literal["finished", "stopped", "diverged", "failed"]


@dataclass(frozen=True)
class Outcome:
    """How an experiment ended; `fingerprint` is its run's, if that started.

    `diverged`: the loss is not finite; `failed`: something else went wrong; `stopped`: `watch`
    asked for it.
    """

    name: str
    state: State
    train: dict[str, Any] = field(default_factory=dict)
    test: dict[str, Any] = field(default_factory=dict)
    reason: str = ""
    fingerprint: str | None = None


class Follower:
    """Reads the journal of the run inside an experiment."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._since = time.time() - 1
        self._journal: Journal | None = None
        self._offset = 0

    @property
    def fingerprint(self) -> str | None:
        """The run's fingerprint, once it has started."""
        return self._journal.fingerprint if self._journal else None

    def losses(self) -> list[tuple[int, float]]:
        """Steps and validation losses since the last call."""
        if self._journal is None:
            self._journal = self._find()
        if self._journal is None:
            return []
        found = []
        for event, offset in self._journal.events(self._offset):
            self._offset = offset
            if event["kind"] == "metrics" and "val_loss" in event["values"]:
                found.append((int(event["step"]), float(event["values"]["val_loss"])))
        return found

    def _find(self) -> Journal | None:
        for path in journal_folder().glob("*.jsonl"):
            if path.stat().st_mtime < self._since:
                continue
            journal = Journal(journal_folder(), path.stem)
            # resuming opens a run again; the last opening counts
            runs = [event for event, _ in journal.events() if event["kind"] == "run"]
            trained = [run for run in runs if run.get("stage") == "train"]
            if trained and trained[-1].get("tags", {}).get("dvc.experiment") == self._name:
                return journal
        return None


def experiments_folder() -> Path:
    """The folder of the studies and the logs of experiments."""
    return working_folder() / "sweeps"


def run_experiment(
    name: str,
    point: Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    watch: Callable[[int, float], bool] = lambda _step, _loss: False,
    log: Path,
) -> Outcome:
    """Run the pipeline up to its evaluation, as the DVC experiment `name`.

    One that a killed process left running is ended first, and resumes from its checkpoint.

    Args:
        name: of the experiment; an existing one is only read.
        point: parameters to set.
        overrides: further ones, as `dvc exp run -S` takes them.
        environment: variables for the stages.
        watch: receives each validation loss; true asks to stop.
        log: file for DVC's output; a file beside it holds the process id.

    Raises:
        TinyLLMError: there is no repository, or it has no commit.
    """
    commit = find_repository(Path.cwd()).commit
    mark = log.with_suffix(".pid")
    _end_leftover(mark, name)
    if (known := _read(name, commit)) is not None:
        return known
    # of two values for a parameter DVC takes the last: the point's, which counts up the seeds
    chosen = [*overrides, *(override(key, value) for key, value in point.items())]
    sets = [word for text in chosen for word in ("-S", text)]
    command = [sys.executable, "-m", "dvc", "exp", "run", "--temp", "-n", name, *sets, _LAST_STAGE]
    follower = Follower(name)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - a fixed command with checked parameters
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=child_environment(**(environment or {})),
            start_new_session=True,
        )
    try:
        mark.write_text(str(process.pid), encoding="utf-8")
        stopped = _follow(process, follower, watch)
    except BaseException:
        # Ctrl-C reaches only this process: the experiment has a separate process group
        _end_group(process.pid)
        raise
    finally:
        mark.unlink(missing_ok=True)
    if process.returncode == 0 and (done := _read(name, commit, follower.fingerprint)) is not None:
        return done
    reason = _reason(log)
    state: State = "diverged" if _DIVERGED.search(reason) else "failed"
    return Outcome(
        name, "stopped" if stopped else state, reason=reason, fingerprint=follower.fingerprint
    )


def _follow(
    process: subprocess.Popen[bytes], follower: Follower, watch: Callable[[int, float], bool]
) -> bool:
    """Wait until an experiment ends; stop it if `watch` says so, and return whether it did."""
    stopped = False
    while process.poll() is None:
        time.sleep(_POLL)
        # `watch` receives all losses, before and after the stop
        hopeless = [watch(step, loss) for step, loss in follower.losses()]
        if any(hopeless) and not stopped:
            stopped = True
            _end_group(process.pid)
    for step, loss in follower.losses():
        watch(step, loss)
    return stopped


def _end_leftover(mark: Path, name: str) -> None:
    """End an experiment whose parent was killed, which DVC and its stage survive."""
    try:
        pid = int(mark.read_text(encoding="utf-8"))
        words = psutil.Process(pid).cmdline()
    except (OSError, ValueError, psutil.Error):
        return
    if name in words:
        _end_group(pid)


def _end_group(group: int) -> None:
    """Interrupt an experiment like Ctrl-C, so that DVC cleans up; kill it after a timeout."""
    deadline = time.monotonic() + _PATIENCE
    _signal(group, signal.SIGINT)
    while _lives(group):
        time.sleep(0.1)
        if time.monotonic() > deadline:
            _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _lives(group: int) -> bool:
    """Whether a process of the group is left, other than zombies."""
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def _read(name: str, head: str, fingerprint: str | None = None) -> Outcome | None:
    """The metrics of a finished experiment on the current commit; None if there is none."""
    ref = f"refs/exps/{head[:2]}/{head[2:]}/{name}"
    paths = [f"./reports/{stage}/metrics.json" for stage in ("train", "evaluate")]
    texts = [git("show", f"{ref}:{path}") for path in paths]
    if not all(texts):
        return None
    train, test = (json.loads(text) for text in texts)
    known = fingerprint or _trained_as(git("rev-parse", ref))
    return Outcome(name, "finished", train, test, fingerprint=known)


def _trained_as(commit: str) -> str | None:
    """The fingerprint of a run that DVC restored from its cache."""
    config = json.loads(read_out("models/checkpoint/config.json", commit) or "{}")
    found = config.get("training", {}).get("fingerprint")
    return None if found is None else str(found)


def _reason(log: Path) -> str:
    """The error message of DVC or a stage."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    faults = [line for line in lines if line.startswith("Error: ")]
    faults = faults or [line for line in lines if line.lower().startswith("error: ")] or lines[-1:]
    if faults and (missing := _NOT_IN_COPY.search(faults[-1])):
        return (
            f"the copy that experiments run in lacks {missing[1]}, since no commit holds it; "
            f"commit it: git add {missing[1]} && git commit"
        )
    return faults[-1].partition(": ")[2] or faults[-1] if faults else ""
