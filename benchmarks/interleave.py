"""Measure several programs fairly: in separate processes, in turns, with medians over the turns.

A program is a Python file that calls `serve` with a function that does some work and returns the
seconds per unit; it waits for its turn on standard input.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def serve(work: Callable[[], float]) -> None:
    """Do the work for each line of standard input, and print its result."""
    work()
    print("ready", flush=True)
    for _ in sys.stdin:
        print(work(), flush=True)


def seconds_each(action: Callable[[], object], times: int) -> float:
    """Mean seconds of an action over `times` calls."""
    since = time.perf_counter()
    for _ in range(times):
        action()
    return (time.perf_counter() - since) / times


def measure(commands: Mapping[str, Sequence[str]], repeats: int) -> dict[str, list[float]]:
    """Seconds per unit of each program in each turn; one runs while the others wait.

    A command is a Python file and its arguments, or those behind another program.
    """
    processes: dict[str, subprocess.Popen[str]] = {}
    try:
        for name, command in commands.items():
            processes[name] = subprocess.Popen(
                [*([sys.executable] if command[0].endswith(".py") else []), *command],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            # the next one starts when this one waits, so that none warms up beside another
            if _answer(name, processes[name]) != "ready":
                raise RuntimeError(f"{name} did not get ready")
        results: dict[str, list[float]] = {name: [] for name in processes}
        for _ in range(repeats):
            for name, process in processes.items():
                assert process.stdin
                process.stdin.write("go\n")
                process.stdin.flush()
                results[name].append(float(_answer(name, process)))
    finally:
        for process in processes.values():
            process.kill()
    return results


def table(results: Mapping[str, Sequence[float]], peer: str, unit: str) -> str:
    """A Markdown table: median, spread, and the median ratio to the peer per turn."""
    lines = [f"| | median ms per {unit} | least | most | x {peer} |", "|---|---|---|---|---|"]
    for name, seconds in results.items():
        ratio = statistics.median(a / b for a, b in zip(seconds, results[peer], strict=True))
        least, middle, most = (
            1000 * value for value in (min(seconds), statistics.median(seconds), max(seconds))
        )
        lines.append(f"| {name} | {middle:.2f} | {least:.2f} | {most:.2f} | {ratio:.3f} |")
    return "\n".join(lines)


def _answer(name: str, process: subprocess.Popen[str]) -> str:
    assert process.stdout
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{name} ended with exit code {process.wait()}")
    return line.strip()
