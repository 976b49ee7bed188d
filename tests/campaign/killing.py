"""Starting what may be killed, and killing one of its processes or all of them."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.project import clean_environment, run_in

LONGEST_WAIT = 180.0
STAGES = ("prepare", "tokenize", "train", "evaluate", "export")
# of `python -m ...` in the command of a delivery, and in that of a stage
_DELIVERY = "tinyllm.app.tracking.background"
_STAGE = "stages."


def kill_group(process: psutil.Process) -> None:
    """Power loss, nearly: everything dies at once."""
    os.killpg(process.pid, signal.SIGKILL)


def kill_first(process: psutil.Process) -> None:
    """DVC, or the shell, dies, and its children live on."""
    process.kill()


def kill_stage(process: psutil.Process) -> None:
    """The stage dies, and what started it and what it started live on."""
    _kill_one(process, _STAGE)


def kill_delivery(process: psutil.Process) -> None:
    """The delivery dies alone, and the stage must not mind."""
    deadline = time.monotonic() + LONGEST_WAIT
    while process.is_running() and time.monotonic() < deadline:
        if _kill_one(process, _DELIVERY) or process.status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.02)


def terminate(process: psutil.Process) -> None:
    """What a shutdown sends."""
    os.killpg(process.pid, signal.SIGTERM)


def interrupt(process: psutil.Process) -> None:
    """Ctrl-C at a terminal."""
    os.killpg(process.pid, signal.SIGINT)


Way = Callable[[psutil.Process], None]
WAYS: dict[str, Way] = {
    "kill -9 group": kill_group,
    "kill -9 first": kill_first,
    "kill -9 stage": kill_stage,
    "kill -9 delivery": kill_delivery,
    "SIGTERM": terminate,
    "Ctrl-C": interrupt,
}


@dataclass
class Started:
    """What was started, killed after a while, and who of it was alive then."""

    seconds: float
    code: int | None
    running: str
    family: list[psutil.Process] = field(default_factory=list)

    def wait_for_family(self) -> bool:
        """Whether all of it ends by itself."""
        return not psutil.wait_procs(self.family, timeout=LONGEST_WAIT)[1]


def stage_command(project: Path, stage: str) -> list[str]:
    """What DVC runs for a stage."""
    return ["sh", "-c", _stages(project)[stage]["cmd"]]


def repro_command(stage: str) -> list[str]:
    """DVC, made to run one stage."""
    return ["dvc", "repro", "--force", "--no-run-cache", "--single-item", stage]


def outs_of(project: Path, stage: str) -> dict[str, bytes]:
    """The bytes of all files that a stage writes, by their path."""
    told = _stages(project)[stage]
    entries = [*told.get("outs", []), *told.get("metrics", []), *told.get("plots", [])]
    places = [project / (next(iter(one)) if isinstance(one, dict) else one) for one in entries]
    files = [file for place in places for file in [place, *sorted(place.rglob("*"))]]
    return {str(f.relative_to(project)): f.read_bytes() for f in files if f.is_file()}


def run_and_kill(project: Path, command: list[str], way: str, after: float) -> Started:
    """Start a command, and kill it or part of it so many seconds later, if it still runs then.

    Returns:
        Which stage ran when it was killed, `finished` if none did; the exit code is None if the
        command was not to end by it.
    """
    since = time.monotonic()
    with subprocess.Popen(
        command,
        cwd=project,
        env=clean_environment(),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as started:
        process = psutil.Process(started.pid)
        try:
            started.wait(after)
        except subprocess.TimeoutExpired:
            running, family = running_stage(process), _family(process)
            WAYS[way](process)
        else:
            return Started(time.monotonic() - since, started.returncode, "finished")
        code = started.wait(LONGEST_WAIT)
    return Started(time.monotonic() - since, code, running, family)


def run_until_it_succeeds(project: Path, command: list[str]) -> int:
    """Run a command again and again, as a person does; return how often it took, 0 for never."""
    deadline = time.monotonic() + LONGEST_WAIT
    tries = 1
    while run_in(project, *command, check=False).returncode:
        if time.monotonic() > deadline:
            return 0
        tries += 1
        time.sleep(1)
    return tries


def running_stage(process: psutil.Process) -> str:
    """The stage that a process or one of its children is, or `between`."""
    for child in _family(process):
        for word in _words(child):
            if word.startswith(_STAGE):
                return word.removeprefix(_STAGE)
    return "between"


def _stages(project: Path) -> dict[str, Any]:
    text = (project / "dvc.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text)["stages"])


def _family(process: psutil.Process) -> list[psutil.Process]:
    # any of them may end while it is looked at
    with contextlib.suppress(psutil.Error):
        return [process, *process.children(recursive=True)]
    return []


def _words(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def _kill_one(process: psutil.Process, mark: str) -> bool:
    """Kill the processes of a family whose command has a word that begins so."""
    found = [one for one in _family(process) if any(w.startswith(mark) for w in _words(one))]
    for one in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    return bool(found)
