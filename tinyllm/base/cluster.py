"""Jobs on a Ray cluster, whose machines share the folders that the jobs name."""

import contextlib
import importlib
import logging
import os
import pickle
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tinyllm
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.events import Advance
from tinyllm.base.work import ATTEMPTS, HOW_TO_GO_ON, Job, Needs, Results

_log = logging.getLogger(__name__)
# seconds
_PATIENCE = 20.0

J = TypeVar("J", bound=Job)
R = TypeVar("R")


def run_on_ray(
    work: Callable[[J, Advance], R],
    jobs: Sequence[J],
    workers: int,
    needs: Needs,
    advance: Advance,
    results: Results[R],
) -> None:
    """Do all jobs, so many at a time; 0: whatever the cluster has cores for.

    See `tinyllm.base.jobs.run_jobs`.

    Raises:
        TinyLLMError: Ray is missing, there is no cluster, no machine in it has enough cores, a job
            failed, or its workers ended again and again.
    """
    with _cluster() as ray:
        # by name, since a worker may have read another version of this program before
        place = (str(Path(tinyllm.__file__).parent.parent), work.__module__, work.__qualname__)
        # this process counts the attempts, and says what was lost
        remote = ray.remote(max_retries=0, **_resources(ray, needs))(_call())
        # some wait at the cluster, so that it is never idle, and grows if it can
        most = workers or 2 * int(ray.cluster_resources().get("CPU", 1))
        waiting = deque(range(len(jobs)))
        sent: dict[Any, int] = {}
        lost: dict[int, int] = {}
        while sent or waiting:
            while waiting and len(sent) < most:
                number = waiting.popleft()
                sent[remote.remote(*place, pickle.dumps(jobs[number]))] = number
            for reference in ray.wait([*sent])[0]:
                number = sent.pop(reference)
                try:
                    data = ray.get(reference)
                except ray.exceptions.RayTaskError as error:
                    raise _explained(error, place[0]) from None
                except ray.exceptions.RayError as error:
                    lost[number] = lost.get(number, 0) + 1
                    _note_loss(error, lost[number])
                    waiting.appendleft(number)
                else:
                    advance(jobs[number].size)
                    results.add(number, pickle.loads(data))  # noqa: S301 - our own results


def _note_loss(error: BaseException, times: int) -> None:
    if times == ATTEMPTS:
        raise TinyLLMError(
            f"Workers of the Ray cluster ended {times} times at the same work ({_brief(error)}); "
            f"{HOW_TO_GO_ON}."
        )
    _log.warning("A worker of the Ray cluster was lost; another one takes its work.")


def _call() -> Callable[[str, str, str, bytes], bytes]:
    """What a worker runs; a function in a function travels by value and needs nothing of ours."""

    def call(root: str, module: str, name: str, data: bytes) -> bytes:
        # first, since MLflow puts the code of models, with a part of this package, before the rest
        sys.path[:] = [root, *(entry for entry in sys.path if entry != root)]
        function = getattr(importlib.import_module(module), name)
        job = pickle.loads(data)  # noqa: S301 - our own
        return pickle.dumps(function(job, lambda _bytes: None))

    return call


def _resources(ray: Any, needs: Needs) -> dict[str, Any]:
    """What to reserve for a job.

    Raises:
        TinyLLMError: no machine has it, so that Ray would wait forever.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    most = max((int(node.get("CPU", 0)) for node in nodes), default=0)
    if needs.cores > most:
        raise TinyLLMError(
            f"{needs.cores} cores are needed at once, and no machine of the Ray cluster has more "
            f"than {most}; add a larger one, or lower numerics.threads."
        )
    gpus = needs.gpus if any(node.get("GPU", 0) >= needs.gpus for node in nodes) else 0
    return {"num_cpus": needs.cores, "num_gpus": gpus}


def _explained(error: Any, root: str) -> BaseException:
    """The error of a job, as if it had been done here."""
    cause: BaseException = error.cause
    if isinstance(cause, ModuleNotFoundError):
        return TinyLLMError(
            f"A machine of the Ray cluster cannot run the program ({cause}); install the same "
            f"packages there, and let all machines share the folder {root}."
        )
    return cause if isinstance(cause, TinyLLMError) else error


def _knock(address: str) -> None:
    """Connect once, since Ray would try for minutes.

    Raises:
        OSError: nobody answers.
    """
    host, _, port = address.rpartition(":")
    if port.isdecimal() and "/" not in host:
        socket.create_connection((host, int(port)), _PATIENCE).close()


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


@contextlib.contextmanager
def _cluster() -> Iterator[Any]:
    """The cluster that RAY_ADDRESS names.

    At the end, also by an exception, whatever still runs there for this process is killed.

    Raises:
        TinyLLMError: Ray is not installed, or there is no cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray  # noqa: PLC0415 - optional, and slow
    except ModuleNotFoundError:
        raise TinyLLMError(
            "runtime.engine is 'ray', which is not installed; install it with: "
            "pip install 'tinyllm[cluster]', or set runtime.engine to local."
        ) from None
    where = os.environ.get("RAY_ADDRESS")
    if not where:
        # Ray would try the last cluster of this machine, which may be gone, for minutes
        raise TinyLLMError(
            "runtime.engine is 'ray', and RAY_ADDRESS names no cluster; start one with "
            "'ray start --head' and set RAY_ADDRESS, or set runtime.engine to local."
        )
    started = time.monotonic()
    try:
        _knock(where)
        # Ray tells of lost workers on standard output, which is the command's; there is no option
        inside: Any = importlib.import_module("ray._private.worker")
        inside._worker_logs_enabled = False  # noqa: SLF001 - see above
        quiet = {"include_dashboard": False, "log_to_driver": False}
        ray.init(where, logging_level=logging.ERROR, **quiet)
    except Exception as error:
        raise TinyLLMError(
            f"There is no Ray cluster at {where} for this user ({_brief(error)}); start one with "
            f"'ray start --head', or set runtime.engine to local."
        ) from None
    cores, nodes = ray.cluster_resources().get("CPU", 0), len(ray.nodes())
    _log.info("%d nodes with %d cores, in %.1f s", nodes, cores, time.monotonic() - started)
    try:
        yield ray
    finally:
        ray.shutdown()
