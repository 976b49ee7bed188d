"""What the exchange of gradients costs: the ordered sum beside gloo's all-reduce.

    python benchmarks/exchange.py [--elements N] [--rounds N] [--processes N ...]

Bytes are those that cross the loopback, divided by the number of processes, and are counted in a
network namespace of their own, so root is needed. Memory is the peak of a process beyond what it
had before it held a gradient; the time is the best of three. With several rounds the all-reduce
follows the last one, as it does with gradient accumulation.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

KINDS = ("all-reduce", "ordered")


def bytes_on_loopback() -> int:
    """Bytes that this network namespace has sent over its loopback."""
    lines = Path("/proc/net/dev").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[9]) for line in lines if line.strip().startswith("lo:"))


def memory(kind: str) -> int:
    """Bytes of this process: VmRSS, or their peak VmHWM."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(kind))


def exchange(kind: str, rank: int, size: int, rounds: int, elements: int) -> Callable[[], float]:
    """Return a function that makes gradients, exchanges them, and returns the seconds of that."""
    import torch
    import torch.distributed as dist

    from tinyllm.training.exchange import OrderedSum

    def work() -> float:
        ordered, seconds, gradient = OrderedSum(rank, size), 0.0, None
        for number in range(rounds):
            del gradient
            gradient = torch.full((elements,), float(rank + 1))
            dist.barrier()
            since, last = time.perf_counter(), number == rounds - 1
            if kind == "ordered":
                ordered.add([gradient], last=last)
            elif last:
                dist.all_reduce(gradient)
            seconds += time.perf_counter() - since
        assert gradient[-1] > 1
        return seconds

    return work


def measure(rank: int, size: int, kind: str, options: argparse.Namespace, results: object) -> None:
    """Measure one way, as one of the processes; the first one puts the result into the queue."""
    warnings.simplefilter("ignore")
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    store = f"file://{options.folder}/{kind}-{size}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=size)
    # what is loaded and allocated at the first use is no part of it
    exchange(kind, rank, size, options.rounds, 1000)()
    work = exchange(kind, rank, size, options.rounds, options.elements)
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    sent = bytes_on_loopback()
    dist.barrier()
    seconds = [work()]
    dist.barrier()
    sent = bytes_on_loopback() - sent
    peaks = [torch.zeros(()) for _ in range(size)]
    dist.all_gather(peaks, torch.tensor(float(memory("VmHWM") - before)))
    seconds += [work(), work()]
    if rank == 0:
        results.put((sent / size, max(peak.item() for peak in peaks), min(seconds)))
    dist.destroy_process_group()


def run(size: int, kind: str, options: argparse.Namespace) -> tuple[float, float, float]:
    """Bytes sent by a process, its peak of memory, and seconds."""
    context = get_context("spawn")
    results = context.Queue()
    arguments = [(rank, size, kind, options, results) for rank in range(size)]
    processes = [context.Process(target=measure, args=each) for each in arguments]
    for process in processes:
        process.start()
    found = results.get(timeout=300)
    for process in processes:
        process.join()
    return found


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--elements", type=int, default=10_000_000, help="gradients, in float32")
    parser.add_argument("--rounds", type=int, default=1, help="microbatches of each process")
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.inside:
        script = 'ip link set lo up && exec "$@" --inside'
        inside = ["unshare", "--net", "sh", "-c", script, "sh", sys.executable, *sys.argv]
        raise SystemExit(subprocess.run(inside, check=False).returncode)
    print(f"{options.elements:,} gradients, {options.rounds} round(s)\n")
    print("| processes | | MB sent a process | MB at most | s |\n|---|---|---|---|---|")
    for size in options.processes:
        with tempfile.TemporaryDirectory() as options.folder:
            rows = {kind: run(size, kind, options) for kind in KINDS}
        for kind, (sent, peak, seconds) in rows.items():
            print(f"| {size} | {kind} | {sent / 1e6:.1f} | {peak / 1e6:.1f} | {seconds:.3f} |")
        sent, peak, seconds = (b / a for a, b in zip(*rows.values(), strict=True))
        print(f"| | ratio | {sent:.3f} | {peak:.3f} | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
