"""Where the time of a training step goes, and how it grows.

    python benchmarks/step_parts.py [PARAMS] [--plot FILE]

PARAMS is a params file, by default params.yaml. Prints the time of each part of a step, the share
of the machine's limit that the model's arithmetic reaches (the limit is the fastest product of
these sizes), and how a step grows with width, context and processes.
Every line is from a separate process; all values are medians.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.interleave import ROOT
from tinyllm.base.outs import OutFile, check_places
from tinyllm.base.replacing import write_out

WARM_UP, TIMES = 3, 12
VOCAB = 66
# replaces only an earlier picture of this program
PICTURE = OutFile("benchmarks/step_parts.py", b"\x89PNG\r\n", b"benchmarks/step_parts.py")
PARTS = ("batch", "teacher", "forward", "backward", "clip", "Muon", "others")


def median(action: Callable[[], object], times: int = TIMES) -> float:
    """Milliseconds of an action."""
    seconds = []
    for _ in range(WARM_UP + times):
        since = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - since)
    return 1000 * statistics.median(seconds[WARM_UP:])


def operations(shape, tokens: int) -> float:
    """Floating-point operations of the products of one step: forward once, backward twice.

    Attention counts only the half of the scores that is not masked.
    """
    block = 4 * shape.d_model**2 + 3 * shape.d_model * shape.d_ff
    weights = shape.num_layers * block + shape.d_model * VOCAB
    attention = shape.num_layers * 2 * shape.d_model * (shape.sequence_length + 1) / 2
    return 3 * 2 * tokens * (weights + attention)


def peaks(shape, tokens: int, products) -> dict[str, float]:
    """The fastest product of these sizes, in operations per second; a median.

    By oneDNN, and by the library that the model uses on this machine.
    """
    import torch

    def onednn(a, b_t):
        return torch.ops.mkldnn._linear_pointwise(a, b_t, None, "none", [], "")

    libraries = {"onednn": onednn, "asked": lambda a, b_t: products.multiply(a, b_t.t())}
    best = dict.fromkeys(libraries, 0.0)
    wide, inner = shape.d_model, shape.d_ff
    for rows, columns, depth in (
        (tokens, 3 * wide, wide),
        (tokens, 2 * inner, wide),
        (tokens, wide, inner),
        (1024, 1024, 1024),
    ):
        a, b = torch.randn(rows, depth), torch.randn(columns, depth)
        for name, product in libraries.items():
            milliseconds = median(lambda a=a, b=b, f=product: f(a, b), times=200)
            best[name] = max(best[name], 2000 * rows * columns * depth / milliseconds)
    return best


def measure_parts(task: dict) -> dict[str, float]:
    """Milliseconds of each part, and of the step, of one process alone."""
    training = set_up(task)
    from tinyllm.model.transformer import token_losses
    from tinyllm.training.loop import take_step

    training.model.train()
    inputs, targets = training.train_loader.next_batch()

    def forward():
        with training.arithmetic.autocast():
            logits = training.model(inputs).float()
        return token_losses(logits, targets).mean(dim=1).mean()

    def teach():
        if training.teacher:
            training.teacher.soften(inputs, targets)

    def back_too():
        # as in a step, since gradients would accumulate
        training.model.zero_grad(set_to_none=True)
        forward().backward()

    both = median(back_too)
    optimizers = {type(one).__name__: median(one.step) for one in training.optimizers.all}
    times = {
        "batch": median(training.train_loader.next_batch),
        "teacher": median(teach),
        "forward": median(forward),
        "clip": median(training.optimizers.clip_gradients),
        "Muon": optimizers.pop("Muon", 0.0),
        "others": sum(optimizers.values()),
    }
    times["backward"] = both - times["forward"]
    times["step"] = median(lambda: take_step(training))
    shape = training.model.config
    times["operations"] = operations(shape, targets.numel())
    times |= peaks(shape, targets.numel(), training.arithmetic.products)
    times["characters"] = targets.numel()
    return times


def set_up(task: dict):
    """A run on random tokens."""
    from tinyllm.app.params import load_params
    from tinyllm.kernels.numerics import setup_numerics

    params = load_params(Path(task["params"]))
    shape, train, numerics = (
        type(params[name]).parse(params[name].model_dump() | task.get(name, {}))
        for name in ("model", "train", "numerics")
    )
    arithmetic = setup_numerics(numerics)
    from benchmarks.random_data import random_data
    from tinyllm.training.recipe import Recipe
    from tinyllm.training.run import set_up_training

    return set_up_training(random_data(VOCAB), Recipe(shape, train, numerics), arithmetic)


def measure_processes(task: dict) -> dict[str, float]:
    """Milliseconds of a step that several processes share."""
    import tempfile

    from tinyllm.app.params import load_params
    from tinyllm.kernels.numerics import setup_numerics

    params = load_params(Path(task["params"]))
    shape = params["model"]
    train = params["train"].model_copy(
        update=task["train"] | {"max_steps": 20, "warmup_steps": 2, "eval_interval": 1000}
    )
    numerics = params["numerics"].model_copy(update=task["numerics"])
    arithmetic = setup_numerics(numerics, processes=numerics.processes)
    from benchmarks.random_data import random_tokens
    from tinyllm.base.events import StepTaken
    from tinyllm.tokens.windows import load_token_data
    from tinyllm.training.recipe import Recipe
    from tinyllm.training.run import run_training
    from tinyllm.training.workers import start_workers

    times: list[float] = []

    def clock(event) -> None:
        if isinstance(event, StepTaken):
            times.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        tokens = random_tokens(Path(folder), VOCAB)
        recipe, data = Recipe(shape, train, numerics), load_token_data(tokens)
        with start_workers(tokens, recipe, arithmetic) as (group, _):
            run_training(data, recipe, arithmetic, tell=clock, group=group)
    steps = [after - before for before, after in itertools.pairwise(times[3:])]
    return {"step": 1000 * statistics.median(steps)}


def run(task: dict) -> dict[str, float]:
    """Measure in a separate process."""
    command = [sys.executable, __file__, "--task", json.dumps(task)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def growth(params: str) -> dict[str, list[tuple[int, float]]]:
    """Milliseconds of a step by width, context and processes, with the same characters per step."""
    from tinyllm.app.params import load_params

    sections = load_params(Path(params))
    shape, train = sections["model"], sections["train"]
    threads = sections["numerics"].threads * sections["numerics"].processes
    width, length, windows = shape.head_dim, shape.sequence_length, train.batch_size
    curves: dict[str, list[tuple[int, float]]] = {"width": [], "context": [], "processes": []}
    for heads in (1, 2, 4):
        change = {"d_model": heads * width, "num_heads": heads, "d_ff": 3 * heads * width}
        curves["width"].append((heads * width, run({"params": params, "model": change})["step"]))
    for factor in (1, 2, 4):
        change = {"sequence_length": length // 2 * factor}
        batch = {"batch_size": max(1, windows * 2 // factor)}
        step = run({"params": params, "model": change, "train": batch})["step"]
        curves["context"].append((length // 2 * factor, step))
    for processes in (1, 2):
        how = {"processes": processes, "threads": max(1, threads // processes)}
        parts = {"gradient_accumulation_steps": 2, "batch_size": max(1, windows // 2)}
        task = {"params": params, "train": parts, "numerics": how, "together": True}
        curves["processes"].append((processes, run(task)["step"]))
    return curves


def show(times: dict[str, float]) -> None:
    """Print the parts and the share of the limit."""
    total = sum(times[part] for part in PARTS)
    print("| part of a step | ms | share |\n|---|---|---|")
    for part in PARTS:
        print(f"| {part} | {times[part]:.2f} | {times[part] / total:.1%} |")
    rate = times["operations"] / (times["forward"] + times["backward"]) * 1000
    whole = times["operations"] / times["step"] * 1000
    print(f"\nA step takes {times['step']:.1f} ms: {times['characters'] / times['step']:.1f} "
          f"thousand characters a second.")  # fmt: skip
    print(
        f"Model arithmetic: {times['operations'] / 1e9:.2f} GFLOP a step; forward and backward run "
        f"at {rate / 1e9:.0f} GFLOP/s, the whole step at {whole / 1e9:.0f}."
    )
    for name, library in (("onednn", "oneDNN"), ("asked", "the library that the model asks")):
        limit = times[name]
        print(
            f"The quickest product of {library} runs at {limit / 1e9:.0f} GFLOP/s: "
            f"{rate / limit:.0%} of that, and {whole / limit:.0%}."
        )


def draw(times: dict[str, float], curves: dict[str, list[tuple[int, float]]], file: Path) -> None:
    """Plot the results."""
    import io

    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 4, figsize=(13, 3.2), layout="constrained")
    axes[0].barh(PARTS[::-1], [times[part] for part in PARTS[::-1]])
    axes[0].set_xlabel("ms a step")
    for axis, (name, points) in zip(axes[1:], curves.items(), strict=True):
        axis.plot([x for x, _ in points], [y for _, y in points], "o-")
        axis.set(xlabel=name, ylabel="ms a step", ylim=(0, None), xticks=[x for x, _ in points])
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=90, metadata={"Software": PICTURE.writer})
    write_out(file, picture.getvalue(), PICTURE)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("params", nargs="?", default="params.yaml")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--task", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.task:
        together = given.task.get("together")
        print(json.dumps((measure_processes if together else measure_parts)(given.task)))
    else:
        if given.plot:
            check_places({"--plot": (given.plot, PICTURE)})
        parts = run({"params": given.params})
        show(parts)
        curves = growth(given.params)
        for name, points in curves.items():
            print(f"\n{name}: " + ", ".join(f"{x}: {y:.1f} ms" for x, y in points))
        if given.plot:
            draw(parts, curves, given.plot)
