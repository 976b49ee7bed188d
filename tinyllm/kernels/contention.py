"""Threads that wait for each other, on a machine that others use too.

After each operation OpenMP's threads wait for the slowest, and a waiting thread spins for a while,
since that is quicker than to sleep and be woken. Beside other programs the slowest is often not
running at all, and whoever spins keeps it from running. So as long as others use the machine,

- waiting threads sleep: GNU's OpenMP hardly spins if its threads outnumber the cores, so idle
  threads are added. A pool that waits for an event costs nothing, and as many threads compute.
- a thread that is woken runs soon: Linux, from 6.12 on, runs threads that ask for short slices of
  time earlier, with the same share of time.
"""

import ctypes
import math
import os
import platform
import struct
import sys
import threading
import time
from pathlib import Path

import torch

from tinyllm.kernels.cores import usable_cores

# seconds for which threads waited for a core, of all threads and in each second: from the first
# on others use the machine, below the second they no longer do
_MUCH, _LITTLE = 0.2, 0.1
# seconds over which that is taken
_PERIOD = 0.2
# more idle threads than this would be needed on a machine with many more cores than we use
_MOST_POOLS = 16
# elements of an operation that a thread does not share
_GRAIN = 32768
_TASKS = Path("/proc/self/task")
# nanoseconds; zero is the system's own
_SHORT_SLICE, _NO_SLICE = 100_000, 0
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
_SIZE_OF_ATTRIBUTES = 48


class Contention:
    """Watches whether other programs use the machine, and gives way to them without spinning."""

    def __init__(self, threads: int) -> None:
        """Prepare to watch.

        Args:
            threads: that compute; a single one waits for nobody.
        """
        pools = math.ceil((usable_cores() - threads + 1) / (threads - 1)) if threads > 1 else 0
        self._pools = pools if sys.platform == "linux" and 0 < pools <= _MOST_POOLS else 0
        self._threads = threads
        self._released: threading.Event | None = None
        self._since, self._waited = time.monotonic(), _seconds_waited() if self._pools else 0.0

    @property
    def noticed(self) -> bool:
        """Whether others use the machine."""
        return self._released is not None

    def watch(self) -> None:
        """Look whether that has changed; called often, between operations."""
        if not self._pools or (elapsed := time.monotonic() - self._since) < _PERIOD:
            return
        waited = _seconds_waited()
        share = (waited - self._waited) / elapsed
        self._since, self._waited = time.monotonic(), waited
        if self._released is None and share > _MUCH:
            self._add_idle_threads()
            _ask_for_slices(_SHORT_SLICE)
        elif self._released is not None and share < _LITTLE:
            self._released.set()
            self._released = None
            _ask_for_slices(_NO_SLICE)

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


def _seconds_waited() -> float:
    """How long all threads of this process, together, could have run and did not."""
    waited = 0
    for task in _tasks():
        try:
            waited += int((_TASKS / task / "schedstat").read_bytes().split()[1])
        except (OSError, IndexError, ValueError):
            # the thread has ended, or the system does not count
            continue
    return waited / 1e9


def _ask_for_slices(nanoseconds: int) -> None:
    """Ask for a length of the time slices of all threads; older systems take no notice."""
    number = _SCHED_SETATTR.get(platform.machine())
    if number is None or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return
    # after the size: policy, flags, nice value, priority, slice, and what other policies need
    values = (_SIZE_OF_ATTRIBUTES, 0, 0, os.nice(0), 0, nanoseconds, 0, 0)
    attributes = struct.pack("=IIQiIQQQ", *values)
    system_call = ctypes.CDLL(None).syscall
    for task in _tasks():
        system_call(number, int(task), attributes, 0)


def _tasks() -> list[str]:
    try:
        return [task.name for task in _TASKS.iterdir()]
    except OSError:
        return []
