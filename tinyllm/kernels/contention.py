"""Threads that wait for each other, on a machine that others use too.

After each operation OpenMP's threads wait for the slowest, and a waiting thread spins for a while,
since that is quicker than to sleep and be woken. Beside other programs the slowest is often not
running at all, and whoever spins keeps it from running. So as long as others fill the machine,

- waiting threads sleep: GNU's OpenMP hardly spins if its threads outnumber the cores, so idle
  threads are added. A pool that waits for an event costs nothing, and as many threads compute.
- a thread that is woken runs soon: Linux, from 6.12 on, runs threads that ask for short slices of
  time earlier, with the same share of time.
- if there are only as many cores as threads, the threads share half of them: they take turns there,
  instead of waiting for each other beside somebody else, and others move to the other half.
"""

import contextlib
import ctypes
import math
import os
import platform
import struct
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from tinyllm.base.cores import usable_cores

# waiting for a core, of all threads and in each second, by which others fill the machine, if less
# of its cores is idle than this
_WAITING, _IDLE = 0.2, 0.5
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
        self._cores = sorted(os.sched_getaffinity(0)) if self._pools else []
        self._released: threading.Event | None = None
        self._since, self._before = time.monotonic(), self._look()

    @property
    def noticed(self) -> bool:
        """Whether others fill the machine."""
        return self._released is not None

    def watch(self) -> None:
        """Look whether that has changed; called often, between operations."""
        if not self._pools or (elapsed := time.monotonic() - self._since) < _PERIOD:
            return
        now = self._look()
        waiting, idle = ((b - a) / elapsed for a, b in zip(self._before, now, strict=True))
        self._since, self._before = time.monotonic(), now
        if self._released is None and waiting > _WAITING and idle < _IDLE:
            self._give_way()
        elif idle >= _IDLE:
            self.stop()

    def stop(self) -> None:
        """Give all cores back to the threads; called when the work is done."""
        if self._released is not None:
            self._released.set()
            self._released = None
            _ask_for_slices(_NO_SLICE)
            self._bind({*self._cores})

    def _look(self) -> tuple[float, float]:
        """Seconds so far: for which threads waited for a core, and for which cores were idle."""
        return (_seconds_waited(), _seconds_idle(self._cores)) if self._pools else (0.0, 0.0)

    def _give_way(self) -> None:
        # before there are threads that do not compute
        self._bind({*self._cores[: (self._threads + 1) // 2]})
        self._released = threading.Event()
        ready = threading.Barrier(self._pools + 1)
        for _ in range(self._pools):
            arguments = (self._threads, ready, self._released)
            threading.Thread(target=_hold_pool, args=arguments, daemon=True).start()
        ready.wait()
        _ask_for_slices(_SHORT_SLICE)

    def _bind(self, cores: set[int]) -> None:
        """Bind the threads that have computed most to some cores."""
        if len(self._cores) == self._threads:
            busiest = sorted(_tasks(), key=lambda task: -_schedule(task)[0])
            for task in busiest[: self._threads]:
                with contextlib.suppress(OSError):
                    os.sched_setaffinity(int(task), cores)


def _hold_pool(threads: int, ready: threading.Barrier, released: threading.Event) -> None:
    """Make a pool of threads by an operation that is large enough for all, and keep it."""
    torch.zeros(2 * threads * _GRAIN).add_(1)
    ready.wait()
    released.wait()


def _seconds_waited() -> float:
    """How long all threads of this process, together, could have run and did not."""
    return sum(_schedule(task)[1] for task in _tasks()) / 1e9


def _schedule(task: str) -> tuple[int, int]:
    """Nanoseconds for which a thread has run, and for which it waited for a core."""
    try:
        ran, waited, _ = (_TASKS / task / "schedstat").read_bytes().split()
        return int(ran), int(waited)
    except (OSError, ValueError):
        # the thread has ended, or the system does not count
        return 0, 0


def _seconds_idle(cores: Sequence[int]) -> float:
    """How long these cores, together, had nothing to do."""
    wanted = {f"cpu{core}".encode() for core in cores}
    try:
        lines = [line.split() for line in Path("/proc/stat").read_bytes().splitlines()]
        # after the name: user, nice, system, idle, waiting for a disk
        ticks = sum(int(line[4]) + int(line[5]) for line in lines if line and line[0] in wanted)
    except (OSError, ValueError, IndexError):
        return 0.0
    return ticks / os.sysconf("SC_CLK_TCK")


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
