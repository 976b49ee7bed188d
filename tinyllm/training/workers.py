"""The further processes of a run: started, watched, and what they do.

They are started here, on this machine; or all, this one included, by `torchrun`, on one machine or
several, with the very command that trains in one process.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from tinyllm.base.errors import ConfigError, TinyLLMError
from tinyllm.kernels.arithmetic import Arithmetic
from tinyllm.kernels.config import NumericsConfig
from tinyllm.kernels.numerics import setup_numerics
from tinyllm.model.config import ModelConfig
from tinyllm.training.config import TrainingConfig
from tinyllm.training.distributed import Group
from tinyllm.training.recipe import Recipe

_PATIENCE = 10.0
_HOW_TO_GO_ON = "the same command goes on from the last working checkpoint"


class Workers:
    """The processes beside this one, from the start of a run to its end.

    A context manager that gives the `Group` of this process, which has rank 0. When a process
    ends before its time, so do all others, at their next exchange.
    """

    def __init__(self, tokens: Path, recipe: Recipe, arithmetic: Arithmetic) -> None:
        self._size = recipe.numerics.processes
        self._arithmetic = arithmetic
        self._started_here = not started_by_torchrun()
        self._folder = tempfile.TemporaryDirectory(prefix="tinyllm-")
        self._processes: list[subprocess.Popen[bytes]] = []
        sections = {name: section.model_dump() for name, section in recipe.sections().items()}
        self._task: dict[str, Any] = {
            **sections,
            "tokens": str(tokens),
            "store": f"{self._folder.name}/store",
        }

    @property
    def process_ids(self) -> list[int]:
        """The other processes, by rank."""
        return [process.pid for process in self._processes]

    def __enter__(self) -> Group:
        """Start the others and join them."""
        if self._size == 1:
            return Group()
        if not self._started_here:
            return _join("env://", 0, self._size, self._arithmetic)
        for rank in range(1, self._size):
            task = json.dumps(self._task | {"rank": rank})
            # a session of its own: Ctrl-C stops this process, which then stops the others
            self._processes.append(
                subprocess.Popen(  # noqa: S603 - this very program
                    [sys.executable, "-m", "tinyllm.training.workers", task],
                    start_new_session=True,
                    stdout=subprocess.PIPE,
                    stderr=(Path(self._folder.name) / f"{rank}.log").open("wb"),
                )
            )
        if not all(process.stdout and process.stdout.readline() for process in self._processes):
            self.__exit__(RuntimeError, RuntimeError("not ready"), None)
        return _join(f"file://{self._task['store']}", 0, self._size, self._arithmetic)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the others.

        Raises:
            TinyLLMError: one of them ended before its time.
        """
        lost = self._lost() if isinstance(error, RuntimeError) and self._size > 1 else None
        for process in self._processes:
            process.kill()
            process.communicate()
        if self._size > 1:
            _leave()
        self._folder.cleanup()
        if lost:
            raise TinyLLMError(lost) from None

    def _lost(self) -> str | None:
        """What became of a process that ended by itself, None where all still run."""
        if not self._started_here:
            return f"One of the {self._size} processes that train together ended; {_HOW_TO_GO_ON}."
        for rank, process in enumerate(self._processes, start=1):
            try:
                code = process.wait(_PATIENCE / self._size)
            except subprocess.TimeoutExpired:
                continue
            log = (Path(self._folder.name) / f"{rank}.log").read_text("utf-8", "replace")
            how = (
                signal.Signals(-code).name if code < 0 else (log.strip().splitlines() or ["?"])[-1]
            )
            return (
                f"Process {rank} of the {self._size} that train together ended ({how}); "
                f"{_HOW_TO_GO_ON}."
            )
        return None


def started_by_torchrun() -> bool:
    """Whether torchrun started this process, and the others."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def rank_of_this_process() -> int:
    """Which of torchrun's processes this is; 0 where torchrun did not start it."""
    return int(os.environ["RANK"]) if started_by_torchrun() else 0


def check_processes(config: TrainingConfig, numerics: NumericsConfig) -> None:
    """Check that the processes can take the accumulation steps of a batch in equal shares.

    Raises:
        ConfigError: they cannot, or torchrun started another number of them.
    """
    steps = config.gradient_accumulation_steps
    if steps % numerics.processes:
        raise ConfigError(
            f"numerics.processes ({numerics.processes}) must divide "
            f"train.gradient_accumulation_steps ({steps}) evenly."
        )
    if started_by_torchrun() and int(os.environ["WORLD_SIZE"]) != numerics.processes:
        raise ConfigError(
            f"torchrun started {os.environ['WORLD_SIZE']} processes, but numerics.processes is "
            f"{numerics.processes}; give both the same number."
        )


def train_along(
    tokens: Path,
    recipe: Recipe,
    arithmetic: Arithmetic,
    *,
    rank: int,
    init_method: str = "env://",
) -> None:
    """Train as one of several processes; the one of rank 0 keeps what comes out.

    Args:
        tokens: folder of the tokenize stage.
        recipe: what is trained, and by how many processes.
        arithmetic: from `setup_numerics`.
        rank: of this process, 1 or more.
        init_method: where they find each other, as torch.distributed names it.

    Raises:
        RuntimeError: another process has ended.
        TinyLLMError: the folder's tokens cannot be read.
    """
    from tinyllm.tokens.windows import load_token_data  # noqa: PLC0415 - after the environment
    from tinyllm.training.run import run_training  # noqa: PLC0415 - after the environment

    # first of all: of one that ends before, the others would learn only when their patience ends
    group = _join(init_method, rank, recipe.numerics.processes, arithmetic)
    run_training(load_token_data(tokens), recipe, arithmetic, group=group)


def _join(init_method: str, rank: int, size: int, arithmetic: Arithmetic) -> Group:
    # its import takes a moment that a run in one process need not wait for
    from tinyllm.training.distributed import join_group  # noqa: PLC0415

    if init_method.startswith("file://"):
        # processes of one machine talk over its loopback, whatever its name resolves to
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    return join_group(rank, size, init_method, arithmetic.device)


def _leave() -> None:
    import torch.distributed as dist  # noqa: PLC0415 - see _join

    if dist.is_initialized():
        dist.destroy_process_group()


def _work(task: dict[str, Any]) -> None:
    recipe = Recipe(
        ModelConfig.parse(task["model"]),
        TrainingConfig.parse(task["train"]),
        NumericsConfig.parse(task["numerics"]),
    )
    arithmetic = setup_numerics(recipe.numerics, processes=recipe.numerics.processes)
    # whoever waits need not wait for one that could not begin
    print("ready", flush=True)
    store = f"file://{task['store']}"
    train_along(Path(task["tokens"]), recipe, arithmetic, rank=task["rank"], init_method=store)


if __name__ == "__main__":
    _work(json.loads(sys.argv[1]))
