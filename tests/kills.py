"""Kill the pipeline at random moments and see that it still ends with the same bytes.

    python -m tests.kills 30        thirty kills, a table, exit code 1 if one result differs

Each time `dvc repro --force` is started on the reduced project and killed in one of five ways;
then `dvc repro` is run until it succeeds, and dvc.lock is compared with that of an undisturbed run.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.project import clean_environment, make_project, run_in

LONGEST_WAIT = 120.0


@dataclass(frozen=True)
class Outcome:
    """One kill: how, when, in which stage, and what came of it."""

    way: str
    after: float
    stage: str
    tries: int
    same: bool

    def __str__(self) -> str:
        verdict = "same bytes" if self.same else "DIFFERENT"
        return f"{self.way:16} {self.after:6.1f} s  {self.stage:9} {self.tries} tries  {verdict}"


def kill_group(process: psutil.Process) -> None:
    """Power loss, nearly: everything dies at once."""
    os.killpg(process.pid, signal.SIGKILL)


def kill_dvc(process: psutil.Process) -> None:
    """DVC dies and its child lives on."""
    process.kill()


def kill_child(process: psutil.Process) -> None:
    """The stage dies and DVC lives on."""
    for child in process.children(recursive=True):
        child.kill()


def terminate(process: psutil.Process) -> None:
    """What a shutdown sends."""
    os.killpg(process.pid, signal.SIGTERM)


def interrupt(process: psutil.Process) -> None:
    """Ctrl-C at a terminal."""
    os.killpg(process.pid, signal.SIGINT)


WAYS: dict[str, Callable[[psutil.Process], None]] = {
    "kill -9 group": kill_group,
    "kill -9 dvc": kill_dvc,
    "kill -9 child": kill_child,
    "SIGTERM": terminate,
    "Ctrl-C": interrupt,
}


def kill_once(project: Path, way: str, after: float, during: str = "") -> Outcome:
    """Start the pipeline, kill it, let it finish, and compare.

    Args:
        project: where; its pipeline has run, and that is committed.
        way: how, of `WAYS`.
        after: so many seconds after the start of the pipeline, or of the stage.
        during: the stage.
    """
    run_in(project, "git", "checkout", "--quiet", "--", ".")
    expected = (project / "dvc.lock").read_bytes()
    with subprocess.Popen(
        ["dvc", "repro", "--force", "--no-run-cache"],
        cwd=project,
        env=clean_environment(),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as started:
        process = psutil.Process(started.pid)
        while during and started.poll() is None and _running_stage(process) != during:
            time.sleep(0.02)
        try:
            started.wait(after)
        except subprocess.TimeoutExpired:
            stage = _running_stage(process)
            WAYS[way](process)
        else:
            stage = "finished"
        started.wait(LONGEST_WAIT)
    tries = 1
    deadline = time.monotonic() + LONGEST_WAIT
    while run_in(project, "dvc", "repro", "--no-run-cache", check=False).returncode:
        if time.monotonic() > deadline:
            return Outcome(way, after, stage, tries, same=False)
        tries += 1
        time.sleep(2)
    same = (project / "dvc.lock").read_bytes() == expected
    same = same and run_in(project, "git", "status", "--porcelain").stdout == ""
    return Outcome(way, after, stage, tries, same)


def _running_stage(process: psutil.Process) -> str:
    # any of them may end while it is looked at
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in process.children(recursive=True):
            words = [word for word in child.cmdline() if word.startswith("stages.")]
            if words:
                return words[-1].removeprefix("stages.")
    return "between"


def main(count: int) -> int:
    """Kill `count` times and print a table."""
    draw = random.Random(20)
    with tempfile.TemporaryDirectory() as folder:
        project = make_project(Path(folder) / "project")
        since = time.monotonic()
        run_in(project, "dvc", "repro", "--force", "--no-run-cache")
        whole = time.monotonic() - since
        outcomes: list[Outcome] = []
        while len(outcomes) < count:
            way = list(WAYS)[len(outcomes) % len(WAYS)]
            outcome = kill_once(project, way, draw.uniform(0.5, whole))
            if outcome.stage == "finished":
                # it was over before it could be killed, which tells nothing
                whole = outcome.after
                continue
            outcomes.append(outcome)
            print(f"{len(outcomes):3}  {outcome}", flush=True)
    same = sum(outcome.same for outcome in outcomes)
    print(f"{same} of {count} ended with the same bytes")
    return 0 if same == count else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 30))
