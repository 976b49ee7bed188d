"""How far do runs end apart that differ in the seed, and those that differ in the arithmetic only?

    python benchmarks/seeds.py params.yaml --seeds 5

trains with each seed in both modes of numerics, and prints the standard deviation between seeds
and, over the same seeds, between the modes: in bits per character, on val and test.
"""

import json
import math
import statistics
import subprocess
import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tinyllm.app.params import load_params

TOKENS = Path("data/tokens")
MODES = ("portable", "fast")


def train(params: Path, mode: str, seeds: int) -> None:
    """Print bits per character on both splits, as a line of JSON for each seed."""
    from tinyllm.kernels.numerics import setup_numerics

    sections = load_params(params)
    numerics = sections["numerics"].model_copy(update={"mode": mode, "device": "cpu", "threads": 1})
    arithmetic = setup_numerics(numerics)  # type: ignore[arg-type]  # a section by its name
    from tinyllm.evaluation.metrics import score_characters
    from tinyllm.kernels.fused import build_model
    from tinyllm.tokens.loaders import EvaluationLoader
    from tinyllm.tokens.shards import load_tokens
    from tinyllm.tokens.windows import OptimizedTextDataset, load_token_data
    from tinyllm.training.recipe import Recipe
    from tinyllm.training.run import run_training

    data, test = load_token_data(TOKENS), load_tokens(TOKENS, "test")
    model, training = sections["model"], sections["train"]
    for seed in range(training.seed, training.seed + seeds):
        recipe = Recipe(model, training.model_copy(update={"seed": seed}), numerics)
        result = run_training(data, recipe, arithmetic)
        trained = build_model(model, data.vocab_size, arithmetic)
        trained.load_state_dict(result.weights)
        windows = OptimizedTextDataset(test, model.sequence_length, "test")
        loader = EvaluationLoader(windows, 64, arithmetic.device)
        nats = score_characters(trained, loader, arithmetic).loss
        bits = {"val": result.best_val_loss / math.log(2), "test": nats / math.log(2)}
        print(json.dumps(bits), flush=True)


@click.command()
@click.argument("params", type=click.Path(exists=True, path_type=Path))
@click.option("--seeds", default=5, show_default=True)
@click.option("--mode", type=click.Choice(MODES), help="Train in this mode only.")
def main(params: Path, seeds: int, mode: str | None) -> None:
    """Train with several seeds in both modes."""
    if mode:
        train(params, mode, seeds)
        return
    found = {}
    for each in MODES:
        # kernels are chosen once in a process
        command = [sys.executable, __file__, str(params), f"--seeds={seeds}", f"--mode={each}"]
        printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        found[each] = [json.loads(line) for line in printed.splitlines()]
    for split in ("val", "test"):
        ours, other = ([run[split] for run in found[each]] for each in MODES)
        apart = [b - a for a, b in zip(ours, other, strict=True)]
        mean, deviation = statistics.fmean(ours), statistics.stdev(ours)
        print(
            f"{split}: {mean:.4f} bits per character; between seeds {deviation:.4f} "
            f"({deviation / mean:.2%}); between modes {statistics.stdev(apart):.4f}, "
            f"at most {max(map(abs, apart)):.4f}: {' '.join(f'{x:+.4f}' for x in apart)}"
        )


if __name__ == "__main__":
    main()
