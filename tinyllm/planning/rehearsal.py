"""The real train stage, for a few steps, in a process of its own: its time and its memory."""

import os
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
from tinyllm.base.files import ROOT_VARIABLE
from tinyllm.training.recipe import Recipe

_TRAIN = "from tinyllm.training.command import train; train(prog_name='tinyllm train')"
_OURS = str(Path(tinyllm.__file__).parents[1])
_KILOBYTE = 1024


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
    with tempfile.TemporaryDirectory(prefix="tinyllm-plan-") as folder:
        command = [sys.executable, "-c", _TRAIN, "--tokens", str(tokens.absolute())]
        command += ["--out", f"{folder}/checkpoint", "--reports", f"{folder}/reports"]
        for section in recipe.sections().values():
            command += section_arguments(section)
        if find_watcher():
            command += ["--no-tracking", "--no-progress"]
        since = time.perf_counter()
        with (Path(folder) / "said").open("w+", encoding="utf-8") as said:
            process = subprocess.Popen(  # noqa: S603 - our own command
                command,
                cwd=folder,
                env=child_environment(PYTHONPATH=_OURS, **{ROOT_VARIABLE: folder}),
                stdout=subprocess.DEVNULL,
                stderr=said,
            )
            _, status, used = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - since
            process.returncode = os.waitstatus_to_exitcode(status)
            said.seek(0)
            lines = said.read().strip().splitlines()
    if process.returncode:
        why = lines[-1].removeprefix("Error: ") if lines else f"exit code {process.returncode}"
        raise TinyLLMError(f"A short run of the plan fails: {why}")
    return Rehearsal(seconds, used.ru_maxrss * _KILOBYTE)
