"""Jobs for the tests of engines; a worker imports this module by its name.

    python -m tests.base.some_jobs FOLDER WORKERS ENGINE

does four that wait until somebody ends this process.
"""

import inspect
import os
import signal
import struct
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.waiting import wait_until
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.events import Advance
from tinyllm.base.jobs import run_jobs
from tinyllm.base.runtime import RuntimeConfig


@dataclass(frozen=True)
class SomeJob:
    """A job that notes its attempts in a folder."""

    folder: str
    number: int
    fate: str = ""
    size: int = 10


def attempts(folder: Path, number: int) -> list[int]:
    """The processes that began a job, in order."""
    marks = sorted(folder.glob(f"{number}-*"), key=lambda path: path.stat().st_mtime_ns)
    return [int(mark.name.partition("-")[2]) for mark in marks]


def do(job: SomeJob, advance: Advance) -> str:
    """Do what a job is fated to."""
    folder = Path(job.folder)
    (folder / f"{job.number}-{os.getpid()}").touch()
    first = len(attempts(folder, job.number)) == 1
    advance(4)
    if job.fate == "fails":
        raise TinyLLMError(f"Job {job.number} failed; mend it.")
    if job.fate == "is wrong":
        raise ZeroDivisionError
    if job.fate == "loses its connection":
        raise ConnectionResetError("the store hung up")
    if job.fate == "is lost in mid-sentence once" and first:
        pipe = inspect.getclosurevars(advance).nonlocals["pipe"]
        # a message of a thousand bytes begins with their number
        os.write(pipe.fileno(), struct.pack("!i", 1000) + b"abc")
        os._exit(1)
    if job.fate == "is lost" or (job.fate == "is lost once" and first):
        os.kill(os.getpid(), signal.SIGKILL)
    if job.fate == "waits":
        time.sleep(600)
    if job.fate == "meets the other":
        wait_until(lambda: attempts(folder, 1 - job.number))
    if job.fate == "takes a second":
        time.sleep(1)
    advance(6)
    return f"result {job.number}"


if __name__ == "__main__":
    # by the name that workers know
    from tests.base import some_jobs

    place, workers, engine = sys.argv[1:]
    waiting = [some_jobs.SomeJob(place, number, "waits") for number in range(4)]
    run_jobs(some_jobs.do, waiting, RuntimeConfig(workers=int(workers), engine=engine))
