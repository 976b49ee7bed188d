"""The cost of a busy machine: a training step and a written character beside other programs.

    python benchmarks/busy.py [TURNS] [STEPS]

Trains the model of params.yaml on random tokens with its threads: as the program does it, with our
spin count but without letting waiting threads sleep, and with OpenMP's default, which is the peer.
Then writes text. Each variant is a separate process; they take turns of STEPS steps (and ten times
as many characters), first on a quiet machine, then beside one endless loop per core.
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

PEER, UNWATCHED, OURS, WRITING = (
    "OpenMP's own waiting",
    "a shorter spin alone",
    "as it comes",
    "a character, as it comes",
)
VARIANTS = (PEER, UNWATCHED, OURS, WRITING)
_OPENMPS_SPIN = "300000"


def run_variant(variant: str, steps: int) -> None:
    """Train steps on demand."""
    if variant == PEER:
        os.environ["GOMP_SPINCOUNT"] = _OPENMPS_SPIN
    from tinyllm.kernels.numerics import setup_numerics

    params = load_params(ROOT / "params.yaml")
    arithmetic = setup_numerics(params["numerics"])
    from benchmarks.random_data import random_data
    from tinyllm.training.loop import take_step
    from tinyllm.training.recipe import Recipe
    from tinyllm.training.run import set_up_training

    recipe = Recipe(params["model"], params["train"], params["numerics"])
    training = set_up_training(random_data(), recipe, arithmetic)
    if variant == WRITING:
        from tinyllm.inference.reader import CachedReader

        reader = CachedReader(training.model.eval())
        reader.start([[1] * recipe.model.sequence_length])
        serve(lambda: seconds_each(lambda: reader.step([1]), 10 * steps))
        return

    def step() -> None:
        take_step(training)
        if variant == OURS:
            arithmetic.contention.watch()

    serve(lambda: seconds_each(step, steps))


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
    medians: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for loops, title in ((0, "quiet"), (cores, f"beside {cores} endless loops")):
        results: dict[str, Sequence[float]] = {**run_turns(turns, steps, loops)}
        print(f"{title}:\n\n{table(results, PEER, 'step')}\n", flush=True)
        for name, seconds in results.items():
            medians[name].append(statistics.median(seconds))
    for name, (quiet, busy) in medians.items():
        print(f"{name}: {busy / quiet:.2f} x its quiet time beside {cores} endless loops")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--variant"]:
        run_variant(sys.argv[2], int(sys.argv[3]))
    else:
        main(*(int(word) for word in [*sys.argv[1:], "3", "30"][:2]))
