"""Jobs in several processes of this machine."""

import logging
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for_any
from pathlib import Path
from typing import Any, TypeVar

import tinyllm
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.events import Advance
from tinyllm.base.work import ATTEMPTS, HOW_TO_GO_ON, Job, Results

_log = logging.getLogger(__name__)
# seconds that an idle worker has for its end
_PATIENCE = 10.0

J = TypeVar("J", bound=Job)
R = TypeVar("R")


def run_in_processes(
    work: Callable[[J, Advance], R],
    jobs: Sequence[J],
    workers: int,
    advance: Advance,
    results: Results[R],
) -> None:
    """Do all jobs in so many processes; see `tinyllm.base.jobs.run_jobs`.

    Raises:
        TinyLLMError: a job failed, or its workers ended again and again.
    """
    waiting = deque(range(len(jobs)))
    lost: dict[int, int] = {}
    team: list[_Worker] = []
    try:
        while not results.complete:
            while waiting and (worker := _free(team, workers)) is not None:
                number = waiting.popleft()
                worker.begin(number, work, jobs[number])
            ready = wait_for_any([worker.pipe for worker in team if worker.is_busy])
            for worker in [worker for worker in team if worker.pipe in ready]:
                if (said := _hear(worker)) is None:
                    team.remove(worker)
                    advance(-worker.read)
                    lost[worker.number] = lost.get(worker.number, 0) + 1
                    _note_loss(worker, lost[worker.number])
                    waiting.appendleft(worker.number)
                else:
                    _receive(worker, *said, advance, results)
        for worker in team:
            worker.dismiss()
    finally:
        for worker in team:
            worker.kill()


def _free(team: list["_Worker"], workers: int) -> "_Worker | None":
    """A worker without a job, a new one if there may be more."""
    for worker in team:
        if not worker.is_busy:
            return worker
    if len(team) == workers:
        return None
    team.append(_Worker())
    return team[-1]


def _hear(worker: "_Worker") -> tuple[str, Any] | None:
    """What a worker says: a word and what belongs to it; None if it ended."""
    try:
        data = worker.pipe.recv_bytes()
    # OSError: it ended within a message
    except (EOFError, OSError):
        return None
    said: tuple[str, Any] = pickle.loads(data)  # noqa: S301 - from our own worker
    return said


def _receive(
    worker: "_Worker", kind: str, value: Any, advance: Advance, results: Results[Any]
) -> None:
    """Take what a worker says; an error is raised as it is."""
    if kind == "read":
        worker.read += value
        advance(value)
        return
    if kind == "error":
        raise value
    worker.is_busy = False
    results.add(worker.number, value)


def _note_loss(worker: "_Worker", times: int) -> None:
    how = worker.how_it_ended()
    if times == ATTEMPTS:
        raise TinyLLMError(
            f"A worker process ended {times} times at the same work ({how}), perhaps for want of "
            f"memory; {HOW_TO_GO_ON}; with less memory, lower runtime.workers."
        )
    _log.warning("A worker process ended (%s); another one takes its work.", how)


@contextmanager
def this_package_first() -> Iterator[None]:
    """Let processes that are started here import the package that this one has.

    A new interpreter gets this one's search path, and MLflow puts the code of models, which holds
    a part of this package, in front of it.
    """
    root = str(Path(tinyllm.__file__).parent.parent)
    sys.path.insert(0, root)
    try:
        yield
    finally:
        sys.path.remove(root)


class _Worker:
    """A process that does one job after the other.

    `number` is that of the present job or of the last, `read` how many bytes of it were read.
    """

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other,), daemon=True)
        with _no_interrupts(), this_package_first():
            self._process.start()
        other.close()
        self.is_busy = False
        self.number, self.read = 0, 0

    def begin(self, number: int, work: Callable[..., Any], job: Any) -> None:
        self.is_busy, self.number, self.read = True, number, 0
        # one that has just ended is noticed when it is listened to
        with suppress(ConnectionError):
            self.pipe.send((work, job))

    def how_it_ended(self) -> str:
        self._process.join(_PATIENCE)
        code = self._process.exitcode or 0
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def dismiss(self) -> None:
        self.pipe.close()
        self._process.join(_PATIENCE)

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


@contextmanager
def _no_interrupts() -> Iterator[None]:
    """Keep Ctrl-C, which reaches all, from a process that begins: the first stops the others."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection) -> None:
    """Do jobs until the first process has no more, or ends."""
    # not SIG_IGN, which the programs that a job starts would inherit
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            data = pipe.recv_bytes()
        except EOFError:
            return
        try:
            work, job = pickle.loads(data)  # noqa: S301 - from the first process
            message = pickle.dumps(("result", work(job, lambda count: pipe.send(("read", count)))))
        except Exception as error:
            message = _packed(error)
        pipe.send_bytes(message)


def _packed(error: Exception) -> bytes:
    """An error with its traceback, which does not travel by itself."""
    text = traceback.format_exc()
    try:
        error.add_note(text)
        message = pickle.dumps(("error", error))
        pickle.loads(message)  # noqa: S301 - our own
    except Exception:
        message = pickle.dumps(("error", RuntimeError(text)))
    return message


def _end_with_parent() -> None:
    """A process that is killed takes its workers along."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 - this is a worker
    wait_for_any([parent.sentinel])
    os._exit(1)
