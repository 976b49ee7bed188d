"""Jobs that do not depend on each other: in this process, in several, or on a cluster.

What a job writes is named by the job, never by who does it, so neither the engine nor the number of
workers changes a byte. A job finds out itself whether an earlier attempt has done it. One whose
worker or machine is lost is tried again, elsewhere if need be; the others do not notice.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from tinyllm.base.cluster import run_on_ray
from tinyllm.base.cores import usable_cores
from tinyllm.base.events import Advance
from tinyllm.base.processes import run_in_processes
from tinyllm.base.runtime import RuntimeConfig
from tinyllm.base.work import Job, Needs, Results

# bytes that are read in less time than processes take to start
_SMALL = 1 << 26

J = TypeVar("J", bound=Job)
R = TypeVar("R")


def run_jobs(
    work: Callable[[J, Advance], R],
    jobs: Sequence[J],
    runtime: RuntimeConfig,
    advance: Advance = lambda _bytes: None,
    tell: Callable[[R], object] = lambda _result: None,
    needs: Needs | None = None,
) -> list[R]:
    """Do all jobs and return their results in the order of the jobs.

    If one fails, or this process is interrupted, the others are stopped at once.

    Args:
        work: a function of a module. It does a job, and calls `advance` with the bytes that it has
            read since the last call.
        jobs: what is to be done; paths in them are absolute.
        runtime: the engine, and how many workers.
        advance: receives bytes that were read, in this process; a negative number if a job is
            tried again.
        tell: receives the results in this process, in order, each as soon as it can be told.
        needs: what a job occupies; one core if not given.

    Raises:
        TinyLLMError: a job failed, its workers ended again and again, or no machine of the
            cluster has what a job needs.
    """
    few = _SMALL if needs is None else 0
    needs = needs or Needs()
    results = Results(len(jobs), tell)
    if runtime.engine == "ray" and jobs:
        run_on_ray(work, jobs, runtime.workers, needs, advance, results)
        return results.told
    many = max(1, usable_cores() // needs.cores)
    if sum(job.size for job in jobs) <= few:
        many = 1
    workers = min(runtime.workers or many, len(jobs))
    if workers > 1:
        run_in_processes(work, jobs, workers, advance, results)
        return results.told
    for number, job in enumerate(jobs):
        results.add(number, work(job, advance))
    return results.told
