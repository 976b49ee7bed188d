"""Does a sweep of 12 points find as good a learning rate as a grid of 24?

    python benchmarks/sweep.py [--steps 300] [--trials 12] [--points 24] [--seeds 5]

`tinyllm sweep` runs its trials through DVC in a reduced copy of the project. The grid, and the
seeds at both best points, do the same runs in this process, which is much faster; a check at the
sweep's best point shows that they are the same. Both choose by the validation split and report the
test split, as a mean over the same seeds, since the best of 24 single runs is partly luck.
"""

import json
import statistics
import sys
import tempfile
from pathlib import Path

import click
import numpy as np
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.project import copy_project, run_in
from tinyllm.app.experiments.noise import Spread
from tinyllm.app.params import load_params
from tinyllm.kernels.numerics import setup_numerics


class Trainer:
    """Trains and evaluates in this process, as the stages do, with some parameters changed."""

    def __init__(self, project: Path) -> None:
        self._params = load_params(project / "params.yaml")
        self._tokens = project / "data/tokens"
        self._arithmetic = setup_numerics(self._params["numerics"])

    def bits(self, **changes) -> tuple[float, float]:
        """Bits per character on val, to choose by, and on test."""
        from tinyllm.evaluation.metrics import score_characters, summarize
        from tinyllm.kernels.fused import build_model
        from tinyllm.tokens.loaders import EvaluationLoader
        from tinyllm.tokens.shards import load_tokens
        from tinyllm.tokens.windows import OptimizedTextDataset, load_token_data
        from tinyllm.training.recipe import Recipe
        from tinyllm.training.run import run_training

        model, train = self._params["model"], self._params["train"]
        train = type(train).parse({**train.model_dump(), **changes})
        data, test = load_token_data(self._tokens), load_tokens(self._tokens, "test")
        result = run_training(data, Recipe(model, train), self._arithmetic)
        trained = build_model(model, data.vocab_size, self._arithmetic)
        trained.load_state_dict(result.weights)
        text = OptimizedTextDataset(test, model.sequence_length, "test")
        loader = EvaluationLoader(
            text, self._params["evaluate"].eval_batch_size, self._arithmetic.device
        )
        scores = score_characters(trained.eval(), loader, self._arithmetic)
        figures = summarize(scores, len(test), len(test))
        return result.best_val_loss / np.log(2), figures["bits_per_character"]


def make_project(project: Path, steps: int) -> None:
    """A reduced copy whose training takes a few seconds."""
    copy_project(project)
    place = project / "params.yaml"
    params = yaml.safe_load(place.read_text(encoding="utf-8"))
    params["train"] |= {"max_steps": steps, "eval_interval": max(1, steps // 10)}
    place.write_text(yaml.safe_dump(params), encoding="utf-8")
    run_in(project, "dvc", "repro", "tokenize")
    run_in(project, "git", "add", "--all")
    run_in(project, "git", "commit", "--quiet", "--message", "what all trials share")


@click.command()
@click.option("--steps", default=300, show_default=True, help="Of each run.")
@click.option("--trials", default=12, show_default=True, help="Of the sweep.")
@click.option("--points", default=24, show_default=True, help="Of the grid.")
@click.option("--seeds", default=5, show_default=True, help="At both best points.")
@click.option("--low", default=0.001, show_default=True)
@click.option("--high", default=1.0, show_default=True)
def main(steps: int, trials: int, points: int, seeds: int, low: float, high: float) -> None:
    """Sweep, grid, noise, verdict; exit code 1 if the sweep's best is not within the noise."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        project = Path(folder) / "project"
        make_project(project, steps)
        space = f"train.learning_rate=log({low:g},{high:g})"
        command = ("tinyllm", "sweep", "-s", space, "--trials", str(trials), "--json")
        found = json.loads(run_in(project, *command).stdout)
        trainer = Trainer(project)
        best = found["best"]
        rate = best["params"]["train.learning_rate"]
        same = abs(trainer.bits(learning_rate=rate)[1] - best["test"]) < 1e-5
        grid = {}
        for value in np.geomspace(low, high, points):
            grid[float(value)] = trainer.bits(learning_rate=float(value))
            print(f"grid {value:.5f}: val {grid[value][0]:.4f}, test {grid[value][1]:.4f}")
        top = min(grid, key=lambda value: grid[value][0])
        repeated = {
            value: [trainer.bits(learning_rate=value, seed=seed)[1] for seed in range(seeds)]
            for value in (rate, top)
        }
    for trial in found["trials"]:
        figure = trial["state"] if trial["val"] is None else f"val {trial['val']:.4f}"
        print(f"sweep {trial['params']['train.learning_rate']:.5f}: {figure}")
    spreads = {value: Spread(tuple(bits)) for value, bits in repeated.items()}
    noise = statistics.stdev(repeated[top])
    gap = spreads[rate].mean - spreads[top].mean
    print(f"trained here as by DVC: {'yes' if same else 'NO'}")
    for name, value in ((f"sweep of {trials}", rate), (f"grid of {points}", top)):
        print(f"{name}: {value:.4g}, {spreads[value]} bits per character on test")
    print(f"sweep minus grid {gap:+.4f}, standard deviation between {seeds} seeds {noise:.4f}")
    print(f"within the noise: {'yes' if gap <= noise else 'NO'}")
    sys.exit(0 if same and gap <= noise else 1)


if __name__ == "__main__":
    main()
