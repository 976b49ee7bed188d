"""The cost of portable arithmetic: one training step, against `fast` and plain PyTorch.

    python benchmarks/step_time.py [REPEATS]

All train the model of params.yaml on random tokens. Plain PyTorch is the unfused
`tinyllm.model.transformer`, trained by torch's Muon and AdamW, with torch's default settings. A
second one uses our Muon, which batches matrices of the same shape, with torch's batched product.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.interleave import ROOT, measure, seconds_each, serve, table
from tinyllm.app.params import load_params
from tinyllm.base.errors import TinyLLMError

STEPS = 6
VARIANTS = ("plain PyTorch", "plain PyTorch, our Muon", "portable", "fast")


def run_variant(variant: str) -> None:
    """Train steps on demand."""
    params = load_params(ROOT / "params.yaml")
    mode = "portable" if variant == "portable" else "fast"
    numerics = params["numerics"].model_copy(
        update={"mode": mode, "device": "cpu", "precision": "auto"}
    )
    from tinyllm.kernels.numerics import setup_numerics
    from tinyllm.training.recipe import Recipe

    arithmetic = plain_arithmetic(numerics) if "plain" in variant else setup_numerics(numerics)
    from benchmarks.random_data import random_data
    from tinyllm.training.loop import take_step
    from tinyllm.training.run import set_up_training

    recipe = Recipe(params["model"], params["train"], numerics)
    training = set_up_training(random_data(), recipe, arithmetic)
    if variant == "plain PyTorch":
        use_torchs_own_optimizers(training)

    serve(lambda: seconds_each(lambda: take_step(training), STEPS))


def plain_arithmetic(numerics):
    """PyTorch's own operations only."""
    import torch

    from tinyllm.kernels.arithmetic import Arithmetic
    from tinyllm.kernels.products import Products

    class Plain(Arithmetic):
        fused = False

    torch.set_num_threads(numerics.threads)
    return Plain(torch.device("cpu"), torch.float32, portable=False, products=Products())


def use_torchs_own_optimizers(training) -> None:
    """Train with plain torch.optim."""
    import torch

    config = training.config
    matrices = [p for n, p in training.model.named_parameters() if "blocks" in n and p.ndim == 2]
    known = {id(p) for p in matrices}
    others = [p for p in training.model.parameters() if id(p) not in known]
    training.optimizers.all = [
        torch.optim.AdamW(others, config.embedding_learning_rate, weight_decay=0.0),
        torch.optim.Muon(matrices, config.learning_rate, weight_decay=config.weight_decay),
    ]


def main(repeats: int) -> None:
    """Measure all variants in turns and print a table."""
    commands = {name: [__file__, "--variant", name] for name in VARIANTS}
    print(table(measure(commands, repeats), VARIANTS[0], "step"))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--variant"]:
        try:
            run_variant(sys.argv[2])
        except TinyLLMError as error:
            sys.exit(f"Error: {error}")
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
