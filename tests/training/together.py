"""Functions that run in several processes, which exchange tensors by gloo."""

import multiprocessing
import os
import sys
from pathlib import Path

PRELOADED = (
    "tests.training.together",
    "tinyllm.training.run",
    "tinyllm.training.sharded_checkpoints",
    "tinyllm.training.sharded_muon",
)


def run_together(function, size, folder: Path, *arguments):
    """Call `function(group, *arguments)` in each of `size` processes; their results, by rank.

    They are forked from a server that has imported everything, which takes seconds.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    pool = context.Pool(size)
    store = f"file://{folder}/store-{size}"
    try:
        tasks = [(function, rank, size, store, arguments) for rank in range(size)]
        return pool.starmap_async(_join, tasks, chunksize=1).get(timeout=120)
    finally:
        pool.terminate()


def _join(function, rank, size, store, arguments):
    import torch

    from tinyllm.training.distributed import Group, joined

    torch.set_num_threads(1)
    if size == 1:
        return function(Group(), *arguments)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo0" if sys.platform == "darwin" else "lo"
    with joined(rank, size, store, torch.device("cpu")) as group:
        return function(group, *arguments)
