"""Measure runs for the scaling rules: random but sensible points, on several texts.

    python benchmarks/scaling/collect.py --minutes 25
    python benchmarks/scaling/fit.py

Each run is a row of benchmarks/scaling/runs.csv. The rows are numbered, and with the same options
the number decides text, size, operations and point, so the same command goes on where it was
stopped, and `--number` says how many there are to be. After a change of the recipe, begin anew with
`--out` or without the file. Losses are those of the whole validation split, in nats per token.
"""

import csv
import functools
import sys
import time
from pathlib import Path

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from benchmarks.scaling.texts import TEXTS
from tinyllm.base.errors import TinyLLMError
from tinyllm.kernels.config import NumericsConfig
from tinyllm.kernels.numerics import setup_numerics

RUNS = Path(__file__).with_name("runs.csv")
SIZES = (15_000, 40_000, 120_000, 300_000, 1_000_000, 3_000_000)
VALIDATIONS, VALIDATED = 8, 40_000
# steps of a run, below which no plan is of interest
FEWEST = 120


@functools.cache
def read(name: str, size: int):
    """Tokens of a text, and its facts; the last tenth is for validation."""
    from tinyllm.planning.texts import TextFacts
    from tinyllm.tokens.characters import CharacterTokenizer
    from tinyllm.tokens.windows import TokenData

    text = TEXTS[name].read(size)
    if len(text) < min(SIZES):
        return None
    cut = len(text) - len(text) // 10
    tokenizer = CharacterTokenizer(text[:cut])
    parts = tokenizer.encode(text[:cut]), tokenizer.encode(text[cut:])
    data = TokenData(*parts, tokenizer.vocab_size)
    return data, TextFacts.of(data)


def draw(number: int, low: float, high: float, largest: int):
    """Text, size, point and steps of a row."""
    from tinyllm.planning.draw import around, usual
    from tinyllm.planning.points import operations, pick

    random = np.random.default_rng([20261130, number])
    # all texts equally often, in an order of their own in each round
    turn, place = divmod(number, len(TEXTS))
    name = list(TEXTS)[np.random.default_rng([turn]).permutation(len(TEXTS))[place]]
    found = read(name, int(random.choice([size for size in SIZES if size <= largest])))
    if found is None:
        return name, None, None, 0
    wanted = np.exp(random.uniform(np.log(low), np.log(high), 1))
    near = usual(wanted, found[1].train_tokens)
    steps = 0
    while steps < FEWEST:
        point = pick(around(near, random), 0)
        steps = round(float(wanted[0] / operations(point, found[1].vocab_size)))
    return name, found, point, steps


def measure(data, point, steps: int, seed: int, arithmetic):
    """Train, and return the loss in nats per token."""
    from tinyllm.planning.points import model_of, training_of
    from tinyllm.training.recipe import Recipe
    from tinyllm.training.run import run_training

    every = -(-steps // VALIDATIONS)
    others = {"eval_interval": every, "eval_characters": VALIDATED, "seed": seed}
    recipe = Recipe(model_of(point), training_of(point, steps, **others))
    return run_training(data, recipe, arithmetic).best_val_loss


def append(path: Path, row: dict[str, object]) -> None:
    """Add a row; the first one writes the header."""
    new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def begun(path: Path) -> set[int]:
    """Numbers of the rows that are there."""
    if not path.exists():
        return set()
    with path.open(encoding="utf-8", newline="") as file:
        return {int(row["number"]) for row in csv.DictReader(file)}


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=RUNS, show_default=True)
@click.option("--number", default=10_000, show_default=True, help="Rows that there are to be.")
@click.option("--minutes", default=25.0, show_default=True, help="When to stop.")
@click.option("--low", default=1e11, show_default=True, help="Operations of a run, at least.")
@click.option("--high", default=2.5e12, show_default=True, help="Operations of a run, at most.")
@click.option("--largest", default=max(SIZES), show_default=True, help="Characters, at most.")
def main(out: Path, number: int, minutes: float, low: float, high: float, largest: int) -> None:
    """Measure runs until there are enough, or the time is over."""
    arithmetic = setup_numerics(NumericsConfig(mode="fast", device="cpu", threads=1))
    end, there = time.monotonic() + 60 * minutes, begun(out)
    for each in range(number):
        if each in there:
            continue
        if time.monotonic() > end:
            break
        name, found, point, steps = draw(each, low, high, largest)
        if found is None:
            continue
        data, facts = found
        try:
            loss = measure(data, point, steps, each, arithmetic)
        except TinyLLMError as error:
            print(f"{each} {name}: {error}", flush=True)
            continue
        facts_of = {key: float(f"{value:.6g}") for key, value in facts.to_dict().items()}
        chosen = {key: float(f"{value:.6g}") for key, value in point.items()}
        row = {"number": each, "text": name, **facts_of, **chosen, "steps": steps}
        row |= {"seed": each, "loss": round(loss, 5)}
        append(out, row)
        print(f"{each} {name} {facts.train_tokens:,}: {steps} steps, {loss:.4f}", flush=True)


if __name__ == "__main__":
    main()
