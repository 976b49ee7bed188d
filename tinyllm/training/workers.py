"""The processes of a run other than that of rank 0.

Either they are started here, on this machine; or torchrun starts all processes, on one machine or
several, with the same command that trains in one process.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from tinyllm.base.errors import TinyLLMError
from tinyllm.base.processes import this_package_first
from tinyllm.kernels.arithmetic import Arithmetic
from tinyllm.kernels.numerics import setup_numerics
from tinyllm.training.distributed import HOW_TO_RESUME, Group, joined
from tinyllm.training.launch import started_by_torchrun
from tinyllm.training.recipe import Recipe
from tinyllm.training.resume import Resume, stop_on_signal

_PATIENCE = 10.0


class Worker:
    """A process of rank 1 or more on this machine, seen from rank 0."""

    def __init__(self, rank: int, tokens: Path, recipe: Recipe, store: str) -> None:
        """Start it, in a new interpreter, since torch's threads do not survive a fork."""
        self.rank = rank
        self._inbox, outbox = multiprocessing.Pipe(duplex=False)
        self._process = multiprocessing.get_context("spawn").Process(
            target=_work, args=(rank, tokens, recipe, store, outbox), daemon=True
        )
        with this_package_first():
            self._process.start()
        outbox.close()
        # nothing yet, that it has started, or why it ended
        self._said: str | None = None

    @property
    def pid(self) -> int | None:
        """Its process id."""
        return self._process.pid

    def is_ready(self) -> bool:
        """Wait until it has started; False if it could not."""
        self._listen()
        return self._said == ""

    def how_it_ended(self, patience: float) -> str | None:
        """A signal's name or an error message; None while it is running."""
        self._process.join(patience)
        code = self._process.exitcode
        if code is None:
            return None
        if code < 0:
            return signal.Signals(-code).name
        if self._inbox.poll():
            self._listen()
        return self._said or f"exit code {code}"

    def stop(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.join()

    def _listen(self) -> None:
        # one that ends without a word only closes its end
        with contextlib.suppress(EOFError):
            self._said = str(self._inbox.recv())


@contextlib.contextmanager
def start_workers(
    tokens: Path, recipe: Recipe, arithmetic: Arithmetic
) -> Iterator[tuple[Group, list[Worker]]]:
    """Start the processes other than this one, which has rank 0, and stop them at the end.

    When a process ends early, so do all others, at their next exchange. Where torchrun started the
    processes, this one only joins them.

    Raises:
        TinyLLMError: one of them ended early.
    """
    size = recipe.numerics.processes
    if size == 1:
        yield Group(), []
        return
    if started_by_torchrun():
        with _joined("env://", 0, size, arithmetic) as group:
            yield group, []
        return
    with tempfile.TemporaryDirectory(prefix="tinyllm-") as folder:
        store = f"file://{folder}/store"
        workers = [Worker(rank, tokens, recipe, store) for rank in range(1, size)]
        try:
            _wait_for(workers)
            with _joined(store, 0, size, arithmetic) as group:
                yield group, workers
        except RuntimeError:
            if lost := _lost(size, workers):
                raise TinyLLMError(f"{lost}; {HOW_TO_RESUME}.") from None
            raise
        finally:
            for worker in workers:
                worker.stop()


def _wait_for(workers: list[Worker]) -> None:
    if not all(worker.is_ready() for worker in workers):
        raise RuntimeError("a process could not start")


def _lost(size: int, workers: list[Worker]) -> str | None:
    """How a process ended early; None if all are running."""
    for worker in workers:
        if how := worker.how_it_ended(_PATIENCE / size):
            return f"Process {worker.rank} of the {size} that train together ended ({how})"
    return None


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
        Interrupted: a process was asked to stop.
        RuntimeError: another process has ended.
        TinyLLMError: another process was lost, or the folder's tokens cannot be read.
    """
    from tinyllm.tokens.windows import load_token_data  # noqa: PLC0415 - after the environment
    from tinyllm.training.run import run_training  # noqa: PLC0415 - after the environment

    # that of rank 0 says what there is to say
    logging.getLogger("tinyllm").setLevel(logging.WARNING)
    # first of all: the others would not notice before their timeout if this process ended earlier
    with _joined(init_method, rank, recipe.numerics.processes, arithmetic) as group:
        data = load_token_data(tokens)
        with stop_on_signal() as stop:
            run_training(data, recipe, arithmetic, resume=Resume(stop=stop), group=group)


def _joined(
    init_method: str, rank: int, size: int, arithmetic: Arithmetic
) -> contextlib.AbstractContextManager[Group]:
    if init_method.startswith("file://"):
        # processes on one machine use its loopback, whatever its name resolves to
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    return joined(rank, size, init_method, arithmetic.device)


def _work(rank: int, tokens: Path, recipe: Recipe, store: str, outbox: Connection) -> None:
    # those to the process group also reach rank 0, which stops the others
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
