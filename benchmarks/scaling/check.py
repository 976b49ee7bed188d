"""Compare `tinyllm plan` with random search: each of its points has the time of the planned run.

    python benchmarks/scaling/check.py TEXT... --minutes 2 --threads 1

For each text, the planned run is trained by the real command, and then as many points as asked for:
every second one near the plan's choice, the others near what is usual for so many operations. One
line a text says whether the time and the loss were as expected, and how much lower the best point
of the search ended. All runs are rows of the file behind --out, with the columns of runs.csv.
Nothing else should run meanwhile.
"""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from benchmarks.scaling.collect import append
from tinyllm.base.command import section_arguments
from tinyllm.base.environment import child_environment
from tinyllm.base.errors import TinyLLMError
from tinyllm.kernels.config import NumericsConfig
from tinyllm.kernels.numerics import setup_numerics

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = "from tinyllm.app.cli import main; main(prog_name='tinyllm')"
STEPS_TIMED = 2.0
HEAD = (
    f"{'text':12} {'budget':>7} {'time':>7} {'expected':>8} {'reached':>8} {'off':>6} "
    f"{'search':>8} {'plan / search':>13}"
)


@dataclass(frozen=True)
class Planned:
    """A plan, its tokens, the seconds that its train stage took, and what it reached."""

    report: dict
    tokens: Path
    seconds: float
    loss: float

    @property
    def point(self) -> dict[str, float]:
        """The choices of the plan."""
        chosen = self.report["candidates"][0]
        return {k: v for k, v in chosen.items() if k not in ("steps", "step_seconds", "loss")}


def run(folder: Path, *words: str) -> str:
    """Run a command of tinyllm in a folder; its standard output."""
    command = [sys.executable, "-c", PROGRAM, *words]
    environment = child_environment(PYTHONPATH=str(ROOT))
    try:
        return subprocess.run(
            command, cwd=folder, env=environment, check=True, capture_output=True, text=True
        ).stdout
    except subprocess.CalledProcessError as error:
        raise click.ClickException(f"tinyllm {words[0]}: {error.stderr.strip()}") from None


def plan_and_train(text: Path, folder: Path, minutes: float, options: list[str]) -> Planned:
    """Plan for a text, and train what is planned."""
    from tinyllm.app.params import load_params

    out = run(folder, "plan", str(text.resolve()), f"--minutes={minutes}", "--json", *options)
    sections = load_params(folder / "params.yaml")

    def own(*names: str) -> list[str]:
        return [word for name in names for word in section_arguments(sections[name])]

    run(folder, "prepare", "--out=prepared", *own("prepare"))
    run(folder, "tokenize", "--prepared=prepared", "--out=tokens", *own("tokenize"))
    since = time.perf_counter()
    places = ["--tokens=tokens", "--out=model", "--reports=train", "--no-tracking"]
    run(folder, "train", *places, *own("model", "train", "numerics"))
    seconds = time.perf_counter() - since
    loss = json.loads((folder / "train/metrics.json").read_text())["val_loss"]
    return Planned(json.loads(out), folder / "tokens", seconds, loss)


def search_points(planned: Planned, number: int, seed: int) -> list[dict[str, float]]:
    """Points near the plan's choice, and near what is usual for its operations, in turns."""
    from tinyllm.planning.draw import around, usual
    from tinyllm.planning.points import operations, pick, stacked

    chosen, text = planned.report["candidates"][0], planned.report["text"]
    random = np.random.default_rng(seed)
    work = chosen["steps"] * operations(planned.point, text["vocab_size"])
    starts = stacked([planned.point]), usual(np.array([work]), text["train_tokens"])
    return [pick(around(starts[index % 2], random), 0) for index in range(number)]


def train_point(planned: Planned, point: dict[str, float], arithmetic) -> tuple[int, float, float]:
    """Train a point for the time of the planned steps: its steps, their seconds, its loss."""
    from tinyllm.planning.points import model_of, training_of
    from tinyllm.planning.trials import Bench
    from tinyllm.tokens.windows import load_token_data
    from tinyllm.training.recipe import Recipe
    from tinyllm.training.run import run_training

    train, data = planned.report["params"]["train"], load_token_data(planned.tokens)
    each = Bench(data, arithmetic, train["seed"]).step_seconds(point, STEPS_TIMED)
    chosen = planned.report["candidates"][0]
    steps = max(1, round(chosen["steps"] * chosen["step_seconds"] / each))
    kept = {name: train[name] for name in ("seed", "eval_characters", "final_eval_characters")}
    training = training_of(point, steps, eval_interval=-(-steps // 10), **kept)
    try:
        result = run_training(data, Recipe(model_of(point), training), arithmetic)
    except TinyLLMError:
        return steps, each, float("inf")
    return steps, each, result.best_val_loss


def check(text: Path, minutes: float, number: int, options: list[str], out: Path) -> str:
    """All runs of a text; the line that sums them up."""
    with tempfile.TemporaryDirectory(prefix="tinyllm-check-") as folder:
        planned = plan_and_train(text, Path(folder), minutes, options)
        arithmetic = setup_numerics(NumericsConfig.parse(planned.report["params"]["numerics"]))
        chosen, expected = planned.report["candidates"][0], planned.report["expected"]
        facts = {k: float(f"{v:.6g}") for k, v in planned.report["text"].items()}

        def keep(role: str, point, steps: int, each: float, loss: float) -> None:
            about = {"text": text.stem, "minutes": minutes, "role": role, **facts}
            measured = {"steps": steps, "step_seconds": round(each, 5), "loss": round(loss, 5)}
            append(out, {**about, **point, **measured})
            print(f"  {text.stem} {role}: {steps} steps, {loss:.4f}", file=sys.stderr, flush=True)

        keep("plan", planned.point, chosen["steps"], chosen["step_seconds"], planned.loss)
        losses = []
        for point in search_points(planned, number, seed=0):
            found = train_point(planned, point, arithmetic)
            keep("search", point, *found)
            losses.append(found[-1])
    guess = expected["expected_val_loss"]
    line = (
        f"{text.stem[:12]:12} {60 * minutes:5.0f} s {planned.seconds:5.0f} s {guess:8.3f} "
        f"{planned.loss:8.3f} {guess / planned.loss - 1:+6.1%}"
    )
    if not losses:
        return line
    return f"{line} {min(losses):8.3f} {planned.loss / min(losses) - 1:+13.1%}"


@click.command()
@click.argument("texts", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--minutes", default=2.0, show_default=True, help="Budget of each run.")
@click.option("--points", default=12, show_default=True, help="Points of the search, a text.")
@click.option("--threads", default=0, help="Of each run.  [default: as the plan chooses]")
@click.option("--mode", type=click.Choice(["portable", "fast"]), default="fast", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default="checks.csv", show_default=True)
def main(texts, minutes: float, points: int, threads: int, mode: str, out: Path) -> None:
    """Plan, train and search for each text, and print the table."""
    options = [f"--mode={mode}", *([f"--threads={threads}"] if threads else [])]
    lines = []
    for text in texts:
        lines.append(check(text, minutes, points, options, out))
        print("\n".join((HEAD, *lines)) if len(lines) == 1 else lines[-1], flush=True)


if __name__ == "__main__":
    main()
