"""How many threads a run of a size is quickest with: on a machine of many cores, fewer than all."""

from collections.abc import Callable
from dataclasses import replace

import torch

from tinyllm.kernels.contention import Contention
from tinyllm.planning.points import Point
from tinyllm.planning.trials import Bench

# of fewer, half may only seem quicker, since others use the cores just now
_FEWEST = 4
# how much longer a step may take with half of the threads, and seconds that are measured
_LONGER, _MEASURED = 1.02, 0.4


def with_quickest_threads(bench: Bench, point: Point) -> Bench:
    """The bench with as many threads as are quickest; this process has so many then.

    Args:
        bench: for any device; only on the CPU threads matter.
        point: of the size that is planned, about.
    """
    here = torch.get_num_threads()
    if bench.arithmetic.device.type != "cpu":
        return bench
    found = quickest(here, lambda n: _with_threads(bench, n).step_seconds(point, _MEASURED))
    torch.set_num_threads(found)
    return bench if found == here else _with_threads(bench, found)


def quickest(threads: int, seconds: Callable[[int], float]) -> int:
    """The number of threads, or half of it and so on, as long as a step takes no longer.

    Args:
        threads: that there are.
        seconds: of a step with some number of threads.
    """
    if threads < _FEWEST:
        return threads
    best = seconds(threads)
    while threads > 1 and (found := seconds(threads // 2)) <= _LONGER * best:
        threads, best = threads // 2, min(best, found)
    return threads


def _with_threads(bench: Bench, threads: int) -> Bench:
    torch.set_num_threads(threads)
    return replace(bench, arithmetic=replace(bench.arithmetic, contention=Contention(threads)))
