"""The worker processes of a run.

Either they are started here, on this machine; or `torchrun` starts all processes, on one machine or
several, with the same command that trains in one process.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from tinyllm.base.errors import ConfigError, TinyLLMError
from tinyllm.kernels.arithmetic import Arithmetic
from tinyllm.kernels.config import NumericsConfig
from tinyllm.kernels.numerics import setup_numerics
from tinyllm.training.config import TrainingConfig
from tinyllm.training.distributed import Group
from tinyllm.training.recipe import Recipe

_PATIENCE = 10.0
_HOW_TO_RESUME = "the same command resumes from the last working checkpoint"


class Worker:
    """A process of rank 1 or more on this machine, seen from rank 0."""

    def __init__(self, rank: int, tokens: Path, recipe: Recipe, store: str) -> None:
        """Start it, in a new interpreter, since torch's threads do not survive a fork."""
        self.rank = rank
        self._inbox, outbox = multiprocessing.Pipe(duplex=False)
        self._process = multiprocessing.get_context("spawn").Process(
            target=_work, args=(rank, tokens, recipe, store, outbox), daemon=True
        )
        self._process.start()
        outbox.close()

    @property
    def pid(self) -> int | None:
        """Its process id."""
        return self._process.pid

    def is_ready(self) -> bool:
        """Wait until it has started; False if it could not."""
        with contextlib.suppress(EOFError):
            return not self._inbox.recv()
        return False

    def how_it_ended(self, patience: float) -> str | None:
        """A signal's name or an error message; None while it is running."""
        self._process.join(patience)
        code = self._process.exitcode
        if code is None:
            return None
        if code < 0:
            return signal.Signals(-code).name
        return str(self._inbox.recv()) if self._inbox.poll() else f"exit code {code}"

    def stop(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.join()


@contextlib.contextmanager
def start_workers(
    tokens: Path, recipe: Recipe, arithmetic: Arithmetic
) -> Iterator[tuple[Group, list[Worker]]]:
    """Start the processes other than this one, which has rank 0, and stop them at the end.

    When a process ends early, so do all others, at their next exchange.

    Raises:
        TinyLLMError: one of them ended early.
    """
    size = recipe.numerics.processes
    if size == 1:
        yield Group(), []
        return
    with tempfile.TemporaryDirectory(prefix="tinyllm-") as folder:
        store = f"file://{folder}/store"
        here = not started_by_torchrun()
        workers = [Worker(r, tokens, recipe, store) for r in range(1, size) if here]
        try:
            _wait_for(workers)
            yield _join(store if here else "env://", 0, size, arithmetic), workers
        except RuntimeError:
            if lost := _lost(size, workers):
                raise TinyLLMError(f"{lost}; {_HOW_TO_RESUME}.") from None
            raise
        finally:
            for worker in workers:
                worker.stop()
            _leave()


def _wait_for(workers: list[Worker]) -> None:
    if not all(worker.is_ready() for worker in workers):
        raise RuntimeError("a process could not start")


def _lost(size: int, workers: list[Worker]) -> str | None:
    """How a process ended early; None if all are running."""
    if not workers:
        return f"One of the {size} processes that train together ended"
    for worker in workers:
        if how := worker.how_it_ended(_PATIENCE / size):
            return f"Process {worker.rank} of the {size} that train together ended ({how})"
    return None


def started_by_torchrun() -> bool:
    """Whether torchrun started this process, and the others."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def rank_of_this_process() -> int:
    """The rank that torchrun gave this process; 0 without torchrun."""
    return int(os.environ["RANK"]) if started_by_torchrun() else 0


def check_processes(config: TrainingConfig, numerics: NumericsConfig) -> None:
    """Check that the processes can share the microbatches of a batch evenly.

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
    """Train as one of several processes; the one of rank 0 keeps the result.

    Args:
        tokens: folder of the tokenize stage.
        recipe: what to train.
        arithmetic: from `setup_numerics`.
        rank: of this process, 1 or more.
        init_method: the rendezvous, as torch.distributed takes it.

    Raises:
        RuntimeError: another process has ended.
        TinyLLMError: the folder's tokens cannot be read.
    """
    from tinyllm.tokens.windows import load_token_data  # noqa: PLC0415 - after the environment
    from tinyllm.training.run import run_training  # noqa: PLC0415 - after the environment

    # first of all: the others would not notice before their timeout if this process ended earlier
    group = _join(init_method, rank, recipe.numerics.processes, arithmetic)
    run_training(load_token_data(tokens), recipe, arithmetic, group=group)


def _join(init_method: str, rank: int, size: int, arithmetic: Arithmetic) -> Group:
    from tinyllm.training.distributed import join_group  # noqa: PLC0415 - slow; for several processes only

    if init_method.startswith("file://"):
        # processes on one machine use its loopback, whatever its name resolves to
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    return join_group(rank, size, init_method, arithmetic.device)


def _leave() -> None:
    import torch.distributed as dist  # noqa: PLC0415 - see _join

    if dist.is_initialized():
        dist.destroy_process_group()


def _work(rank: int, tokens: Path, recipe: Recipe, store: str, outbox: Connection) -> None:
    # signals to the process group are for rank 0, which stops the others
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    try:
        arithmetic = setup_numerics(recipe.numerics, processes=recipe.numerics.processes)
        # rank 0 waits for this before it joins
        outbox.send("")
        train_along(tokens, recipe, arithmetic, rank=rank, init_method=store)
    except Exception as error:
        outbox.send(" ".join(str(error).split()) or type(error).__name__)
        raise SystemExit(1) from None
