"""How many cores this process may use: fewer than the machine has, in a container or a job."""

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def usable_cores(cgroup: Path = _CGROUP) -> int:
    """Cores by affinity and by the CPU quota of the container, rounded up; at least one.

    Args:
        cgroup: where the limits are found.
    """
    affinity = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    cores = len(affinity) or os.cpu_count() or 1
    quota, period = _quota(cgroup)
    return max(1, min(cores, math.ceil(quota / period))) if quota > 0 and period > 0 else cores


def _quota(cgroup: Path) -> tuple[int, int]:
    """Microseconds of CPU time in each period, of both versions of cgroups; 0 for no limit."""
    try:
        if (limit := cgroup / "cpu.max").is_file():
            quota, period = limit.read_text(encoding="ascii").split()
        else:
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            quota, period = ((cgroup / "cpu" / n).read_text(encoding="ascii") for n in names)
        return int(quota), int(period)
    except (OSError, ValueError):
        # no cgroups, or "max"
        return 0, 0
