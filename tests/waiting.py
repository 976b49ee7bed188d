"""Waiting for what another thread or process does, and whether it still lives."""

import time
from collections.abc import Callable, Iterable

import psutil


def wait_until(condition: Callable[[], object], between: float = 0.05) -> None:
    """Return as soon as the condition holds; it is asked every so many seconds.

    The patience is long, since it is spent only where the test fails: other tests and an emulator
    may leave the machine little time.

    Raises:
        TimeoutError: it does not hold after ten minutes.
    """
    deadline = time.monotonic() + 600
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("what the test waits for does not come")
        time.sleep(between)


def live(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those of the processes that have not ended."""
    return [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
