"""The cost of a busy machine: a training step beside other programs, and on a quiet machine.

    python benchmarks/busy.py [TURNS] [STEPS]

Trains the model of params.yaml on random tokens with its threads: with our spin count, and with
OpenMP's default, which is the peer. Each variant is a separate process; they take turns of STEPS
steps, first on a quiet machine, then beside one endless loop per core.
"""

import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.interleave import ROOT, measure, seconds_each, serve, table
from tinyllm.app.params import load_params

# OpenMP's spin count: None means ours, 300,000 is OpenMP's default
VARIANTS = {"OpenMP's own waiting": "300000", "as it comes": None}


def run_variant(variant: str, steps: int) -> None:
    """Train steps on demand."""
    if turns := VARIANTS[variant]:
        os.environ["GOMP_SPINCOUNT"] = turns
    from tinyllm.kernels.numerics import setup_numerics

    params = load_params(ROOT / "params.yaml")
    arithmetic = setup_numerics(params["numerics"])
    from benchmarks.random_data import random_data
    from tinyllm.training.loop import take_step
    from tinyllm.training.recipe import Recipe
    from tinyllm.training.run import set_up_training

    recipe = Recipe(params["model"], params["train"], params["numerics"])
    training = set_up_training(random_data(), recipe, arithmetic)
    serve(lambda: seconds_each(lambda: take_step(training), steps))


def run_turns(turns: int, steps: int, loops: int) -> dict[str, list[float]]:
    """Measure all variants beside endless loops."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(loops)]
    try:
        commands = {name: [__file__, "--variant", name, str(steps)] for name in VARIANTS}
        return measure(commands, turns)
    finally:
        for process in busy:
            process.kill()


def main(turns: int, steps: int) -> None:
    """Measure; print two tables, and how many times slower a step is on a busy machine."""
    cores = os.cpu_count() or 1
    peer = next(iter(VARIANTS))
    medians: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for loops, title in ((0, "quiet"), (cores, f"beside {cores} endless loops")):
        results: dict[str, Sequence[float]] = {**run_turns(turns, steps, loops)}
        print(f"{title}:\n\n{table(results, peer, 'step')}\n", flush=True)
        for name, seconds in results.items():
            medians[name].append(statistics.median(seconds))
    for name, (quiet, busy) in medians.items():
        print(f"{name}: {busy / quiet:.2f} x its quiet time beside {cores} endless loops")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--variant"]:
        run_variant(sys.argv[2], int(sys.argv[3]))
    else:
        main(*(int(word) for word in [*sys.argv[1:], "3", "30"][:2]))
