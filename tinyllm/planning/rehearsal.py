"""The real train stage, for a few steps, in a process of its own: its time and its memory."""

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import tinyllm
from tinyllm.base.command import section_arguments
from tinyllm.base.environment import child_environment
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.events import find_watcher
from tinyllm.base.files import ROOT_VARIABLE, read_text
from tinyllm.training.recipe import Recipe

_TRAIN = "from tinyllm.training.command import train; train(prog_name='tinyllm train')"
_OURS = str(Path(tinyllm.__file__).parents[1])
_KILOBYTE = 1024
_EVERY = 0.02


@dataclass(frozen=True)
class Rehearsal:
    """What a short run took: wall time of the stage, and the most memory it had, in bytes."""

    seconds: float
    memory: int


def rehearse(tokens: Path, recipe: Recipe) -> Rehearsal:
    """Train with the command that the stage calls; what it writes is thrown away.

    Args:
        tokens: the folder of the tokenize stage.
        recipe: of a run of few steps.

    Raises:
        TinyLLMError: the stage fails; the message is its own.
    """
    with tempfile.TemporaryDirectory(prefix="tinyllm-plan-", ignore_cleanup_errors=True) as folder:
        command = [sys.executable, "-c", _TRAIN, "--tokens", str(tokens.absolute())]
        command += ["--out", f"{folder}/checkpoint", "--reports", f"{folder}/reports"]
        for section in recipe.sections().values():
            command += section_arguments(section)
        if find_watcher():
            command += ["--no-tracking", "--no-progress"]
        said = Path(folder) / "said"
        since = time.perf_counter()
        code, memory = _run(command, said)
        seconds = time.perf_counter() - since
        if code:
            lines = read_text(said).strip().splitlines()
            why = lines[-1].removeprefix("Error: ") if lines else f"exit code {code}"
            raise TinyLLMError(f"A short run of the plan fails: {why}")
    return Rehearsal(seconds, memory)


def _run(command: list[str], said: Path) -> tuple[int, int]:
    """Run a command in the folder of the file for its standard error: exit code, and memory."""
    environment = child_environment(PYTHONPATH=_OURS, **{ROOT_VARIABLE: str(said.parent)})
    with said.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(  # noqa: S603 - our own command
            command, cwd=said.parent, env=environment, stdout=subprocess.DEVNULL, stderr=file
        )
        memory = 0
        try:
            while process.poll() is None:
                memory = max(memory, _peak(process.pid))
                time.sleep(_EVERY)
        finally:
            if process.returncode is None:
                process.kill()
    return process.returncode, memory


def _peak(pid: int) -> int:
    """The most memory that a process has had, in bytes; 0 if unknown.

    What the system counts for a process that has ended begins with the memory of its parent.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    found = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(next(found, 0)) * _KILOBYTE
