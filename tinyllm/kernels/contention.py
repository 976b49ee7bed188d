"""Threads that wait for each other, on a machine that others use too.

After each operation OpenMP's threads wait for the slowest, and a waiting thread spins for a while,
since that is quicker than to sleep and be woken. Beside other programs the slowest is often not
running at all, and whoever spins keeps it from running. GNU's OpenMP hardly spins if its threads
outnumber the cores, so idle threads are added as long as others use the machine: a pool that waits
for an event costs nothing, and the number of threads that compute stays as it is.
"""

import math
import sys
import threading
import time

import torch

from tinyllm.kernels.cores import usable_cores

if sys.platform != "win32":
    import resource

# involuntary context switches per second by which others use the machine, and no longer do
_MANY, _FEW = 40.0, 15.0
# seconds for which they are counted
_PERIOD = 0.2
# more idle threads than this would be needed on a machine with many more cores than we use
_MOST_POOLS = 16
# elements of an operation that a thread does not share
_GRAIN = 32768


class Contention:
    """Watches whether other programs use the machine, and lets waiting threads sleep if so."""

    def __init__(self, threads: int) -> None:
        """Prepare to watch.

        Args:
            threads: that compute; a single one waits for nobody.
        """
        pools = math.ceil((usable_cores() - threads + 1) / (threads - 1)) if threads > 1 else 0
        self._pools = pools if sys.platform == "linux" and 0 < pools <= _MOST_POOLS else 0
        self._threads = threads
        self._released: threading.Event | None = None
        self._since, self._switches = time.monotonic(), _involuntary_switches()

    @property
    def noticed(self) -> bool:
        """Whether waiting threads sleep."""
        return self._released is not None

    def watch(self) -> None:
        """Look whether that has changed; called often, between operations."""
        if not self._pools or (elapsed := time.monotonic() - self._since) < _PERIOD:
            return
        switches = _involuntary_switches()
        rate = (switches - self._switches) / elapsed
        self._since, self._switches = time.monotonic(), switches
        if self._released is None and rate > _MANY:
            self._add_idle_threads()
        elif self._released is not None and rate < _FEW:
            self._released.set()
            self._released = None

    def _add_idle_threads(self) -> None:
        self._released = threading.Event()
        ready = threading.Barrier(self._pools + 1)
        for _ in range(self._pools):
            arguments = (self._threads, ready, self._released)
            threading.Thread(target=_hold_pool, args=arguments, daemon=True).start()
        ready.wait()


def _hold_pool(threads: int, ready: threading.Barrier, released: threading.Event) -> None:
    """Make a pool of threads by an operation that is large enough for all, and keep it."""
    torch.zeros(2 * threads * _GRAIN).add_(1)
    ready.wait()
    released.wait()


def _involuntary_switches() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw if sys.platform != "win32" else 0
