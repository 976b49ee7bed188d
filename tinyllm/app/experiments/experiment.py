"""One DVC experiment in a copy of the repository: started, followed while it trains, stopped."""

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
from tinyllm.app.tracking.journal import Journal
from tinyllm.app.tracking.lineage import git
from tinyllm.app.tracking.outs import read_out
from tinyllm.app.tracking.store import journal_folder
from tinyllm.base.files import working_folder

# experiments are compared before they are exported and registered
_LAST_STAGE = "evaluate"
# what a run says whose loss or gradient left the numbers
_DIVERGED = re.compile(r"became (nan|-?inf) at step")
_POLL = 0.3
_PATIENCE = 60.0
State = Literal["finished", "stopped", "diverged", "failed"]


@dataclass(frozen=True)
class Outcome:
    """How an experiment ended; `fingerprint` is its run's, where that began.

    `diverged`: the loss left the numbers; `failed`: something else went wrong; `stopped`: the
    watcher asked for it.
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
        """The run's fingerprint, once it has begun."""
        return self._journal.fingerprint if self._journal else None

    def losses(self) -> list[tuple[int, float]]:
        """Validation losses that were written since the last call, with their steps."""
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
            # a resumed training opens its run again; the last opening tells whose it is now
            runs = [event for event, _ in journal.events() if event["kind"] == "run"]
            trained = [run for run in runs if run.get("stage") == "train"]
            if trained and trained[-1].get("tags", {}).get("dvc.experiment") == self._name:
                return journal
        return None


def experiments_folder() -> Path:
    """Where studies and the logs of experiments are kept."""
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

    One that a killed process left running is ended first, and goes on from its checkpoint.

    Args:
        name: of the experiment; one that is there already is only read.
        point: parameters to set.
        overrides: further ones, as `dvc exp run -S` takes them.
        environment: variables for the stages.
        watch: told of each validation loss; true asks to stop.
        log: file for what DVC prints; beside it stands the process.
    """
    mark = log.with_suffix(".pid")
    _end_leftover(mark, name)
    if (known := _read(name)) is not None:
        return known
    sets = [word for key in point for word in ("-S", override(key, point[key]))]
    sets += [word for text in overrides for word in ("-S", text)]
    command = [sys.executable, "-m", "dvc", "exp", "run", "--temp", "-n", name, *sets, _LAST_STAGE]
    follower = Follower(name)
    variables = {**os.environ, **(environment or {})}
    bin_folder = str(Path(sys.executable).parent)
    variables["PATH"] = f"{bin_folder}{os.pathsep}{variables.get('PATH', '')}"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - a fixed command with checked parameters
            command, stdout=output, stderr=subprocess.STDOUT, env=variables, start_new_session=True
        )
    try:
        mark.write_text(str(process.pid), encoding="utf-8")
        stopped = _follow(process, follower, watch)
    except BaseException:
        # Ctrl-C reaches this process alone: the experiment has a group of its own
        _end_group(process.pid)
        raise
    finally:
        mark.unlink(missing_ok=True)
    if process.returncode == 0 and (done := _read(name, follower.fingerprint)) is not None:
        return done
    reason = _reason(log)
    state: State = "diverged" if _DIVERGED.search(reason) else "failed"
    return Outcome(
        name, "stopped" if stopped else state, reason=reason, fingerprint=follower.fingerprint
    )


def _follow(
    process: subprocess.Popen[bytes], follower: Follower, watch: Callable[[int, float], bool]
) -> bool:
    """Wait until an experiment ends; stop it when the watcher says so, and return whether."""
    stopped = False
    while process.poll() is None:
        time.sleep(_POLL)
        # all are told, before and after the stop
        hopeless = [watch(step, loss) for step, loss in follower.losses()]
        if any(hopeless) and not stopped:
            stopped = True
            _end_group(process.pid)
    for step, loss in follower.losses():
        watch(step, loss)
    return stopped


def _end_leftover(mark: Path, name: str) -> None:
    """End an experiment whose watching process was killed; DVC and its stage outlive that."""
    try:
        pid = int(mark.read_text(encoding="utf-8"))
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return
    if name.encode() in words:
        _end_group(pid)


def _end_group(group: int) -> None:
    """Interrupt an experiment as Ctrl-C does, which DVC cleans up after; then end it for good."""
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
    """Whether a process of the group is left, of those that are more than an entry in a table."""
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def _read(name: str, fingerprint: str | None = None) -> Outcome | None:
    """The figures of a finished experiment on the present commit, None while there is none."""
    head = git("rev-parse", "HEAD")
    ref = f"refs/exps/{head[:2]}/{head[2:]}/{name}"
    texts = [git("show", f"{ref}:reports/{stage}/metrics.json") for stage in ("train", "evaluate")]
    if not all(texts):
        return None
    train, test = (json.loads(text) for text in texts)
    known = fingerprint or _trained_as(git("rev-parse", ref))
    return Outcome(name, "finished", train, test, fingerprint=known)


def _trained_as(commit: str) -> str | None:
    """The fingerprint of a run that DVC restored, so that nobody could follow it."""
    config = json.loads(read_out("models/checkpoint/config.json", commit) or "{}")
    found = config.get("training", {}).get("fingerprint")
    return None if found is None else str(found)


def _reason(log: Path) -> str:
    """The line in which DVC, or a stage, says what is wrong."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    faults = [line for line in lines if line.startswith("Error: ")]
    faults = faults or [line for line in lines if line.lower().startswith("error: ")] or lines[-1:]
    return faults[-1].partition(": ")[2] or faults[-1] if faults else ""
