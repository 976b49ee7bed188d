"""Jobs that do not depend on each other: in this process, in several, or on a cluster.

What a job writes is named by the job, never by who does it, so neither the engine nor the number of
workers changes a byte. A job finds out itself whether an earlier attempt has done it.
"""

import contextlib
import importlib
import logging
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for_end
from pathlib import Path
from typing import Any, Protocol, TypeVar

import tinyllm
from tinyllm.base.cores import usable_cores
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.events import Advance
from tinyllm.base.runtime import RuntimeConfig

_log = logging.getLogger(__name__)
# seconds between two looks at how far the workers are
_PERIOD = 0.2
_HOW_TO_GO_ON = "run it again: what is finished is kept"


class Job(Protocol):
    """What a job must tell: its size, in bytes of input."""

    @property
    def size(self) -> int:
        """Bytes that it reads."""


J = TypeVar("J", bound=Job)
R = TypeVar("R")
Work = Callable[[J, Advance], R]


def run_jobs(
    work: Callable[[J, Advance], R],
    jobs: Sequence[J],
    runtime: RuntimeConfig,
    advance: Advance = lambda _bytes: None,
) -> list[R]:
    """Do all jobs and return their results in the order of the jobs.

    Args:
        work: a function of a module. It does a job, and calls `advance` with the bytes that it has
            read since the last call.
        jobs: what is to be done; paths in them are absolute.
        runtime: the engine, and how many workers.
        advance: receives bytes that were read, in this process.

    Raises:
        TinyLLMError: a job failed, or a worker ended.
    """
    if runtime.engine == "ray" and jobs:
        return _run_on_ray(work, jobs, advance)
    workers = min(runtime.workers or usable_cores(), len(jobs))
    if workers <= 1:
        return [work(job, advance) for job in jobs]
    return _run_in_processes(work, jobs, workers, advance)


def _run_in_processes(
    work: Callable[[J, Advance], R], jobs: Sequence[J], workers: int, advance: Advance
) -> list[R]:
    context = multiprocessing.get_context("spawn")
    done = context.Value("q", 0)
    pool = ProcessPoolExecutor(workers, context, _begin, (done,))
    try:
        futures: list[Future[R]] = [pool.submit(_work, work, job) for job in jobs]
        seen, pending = 0, set(futures)
        while pending:
            ended, pending = wait(pending, _PERIOD, FIRST_COMPLETED)
            advance(done.value - seen)
            seen = done.value
            for future in ended:
                future.result()
        return [future.result() for future in futures]
    except BrokenProcessPool:
        raise TinyLLMError(
            f"One of {workers} worker processes ended, perhaps for want of memory; "
            f"{_HOW_TO_GO_ON}; with less memory, lower runtime.workers."
        ) from None
    except BaseException:
        for process in multiprocessing.active_children():
            process.kill()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


# in a worker: the bytes that all workers have read
_done: Any = None


def _begin(done: Any) -> None:
    global _done  # noqa: PLW0603 - a worker process has one task
    _done = done
    # the first process stops the others
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A process that is killed takes its workers along."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 - this is a worker
    wait_for_end([parent.sentinel])
    os._exit(1)


def _work(work: Callable[[J, Advance], R], job: J) -> R:
    return work(job, _advance)


def _advance(count: int) -> None:
    with _done.get_lock():
        _done.value += count


def _run_on_ray(work: Callable[[J, Advance], R], jobs: Sequence[J], advance: Advance) -> list[R]:
    with _cluster() as ray:
        # by name, since a worker may have read another version of this program before
        place = (str(Path(tinyllm.__file__).parent.parent), work.__module__, work.__qualname__)

        # a function in a function travels by value, so a worker needs nothing of ours to begin
        def call(root: str, module: str, name: str, data: bytes) -> bytes:
            if root not in sys.path:
                sys.path.insert(0, root)
            function = getattr(importlib.import_module(module), name)
            return pickle.dumps(function(pickle.loads(data), lambda _bytes: None))  # noqa: S301 - our own job

        remote = ray.remote(max_retries=3)(call)
        sent = [remote.remote(*place, pickle.dumps(job)) for job in jobs]
        sizes = {reference: job.size for reference, job in zip(sent, jobs, strict=True)}
        pending = list(sent)
        try:
            while pending:
                ended, pending = ray.wait(pending)
                for reference in ended:
                    ray.get(reference)
                    advance(sizes[reference])
            return [pickle.loads(data) for data in ray.get(sent)]  # noqa: S301 - our own results
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, TinyLLMError):
                raise error.cause from None
            raise
        except ray.exceptions.RayError as error:
            why = " ".join(str(error).split())[:300]
            raise TinyLLMError(f"The Ray cluster failed ({why}); {_HOW_TO_GO_ON}.") from None


@contextlib.contextmanager
def _cluster() -> Iterator[Any]:
    """The cluster that RAY_ADDRESS names or that this machine belongs to, else one of its own."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray  # noqa: PLC0415 - optional, and slow
    except ModuleNotFoundError:
        raise TinyLLMError(
            "runtime.engine is 'ray', which is not installed; install it with: "
            "pip install 'tinyllm[cluster]', or set runtime.engine to local."
        ) from None
    started = time.monotonic()
    try:
        ray.init(include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    except Exception as error:
        where = os.environ.get("RAY_ADDRESS", "this machine")
        why = " ".join(str(error).split())[:300]
        raise TinyLLMError(
            f"There is no Ray cluster at {where} ({why}); start one with 'ray start --head', or "
            f"set runtime.engine to local."
        ) from None
    cores, nodes = ray.cluster_resources().get("CPU", 0), len(ray.nodes())
    _log.info("%d nodes with %d cores, in %.1f s", nodes, cores, time.monotonic() - started)
    try:
        yield ray
    finally:
        ray.shutdown()
