"""What portable arithmetic costs: one training step, against `fast` and against plain PyTorch.

    python benchmarks/step_time.py [REPEATS]

All train the model of params.yaml on random tokens. Plain PyTorch is the same model written with
torch's own functions (linear, attention, norm, SiLU; the rotation as it stands in textbooks) and
trained by torch's own Muon and AdamW, with torch's default settings. A second one takes our Muon,
which works on all matrices of a shape at once, through torch's batched product.
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
    from tinyllm.kernels.arithmetic import Arithmetic
from tinyllm.kernels.numerics import setup_numerics

    if variant.startswith("plain"):
        import torch

        torch.set_num_threads(numerics.threads)
        arithmetic = Arithmetic(torch.device("cpu"), torch.float32, portable=False)
        use_torchs_own_functions()
    else:
        arithmetic = setup_numerics(numerics)
    import numpy as np

    from tinyllm.training.loop import take_step
    from tinyllm.training.run import set_up_training

    vocab_size = 65
    tokens = np.random.default_rng(0).integers(1, vocab_size, 300_000).astype(np.uint8)
    training = set_up_training(
        tokens, tokens[:20_000], vocab_size, params["model"], params["train"], arithmetic
    )
    if variant == "plain PyTorch":
        use_torchs_own_optimizers(training)

    serve(lambda: seconds_each(lambda: take_step(training), STEPS))


def use_torchs_own_functions() -> None:
    """Write the model with nothing but what everybody has, as it is written where ours is not."""
    import torch

    from tinyllm.models import attention, functional
    from tinyllm.training import muon

    functional.onednn_applies = attention.onednn_applies = lambda _: False
    muon.multiply_pairs = torch.bmm


def use_torchs_own_optimizers(training) -> None:
    """Train with torch.optim as it comes."""
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
