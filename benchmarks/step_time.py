"""What portable arithmetic costs: one training step, against `fast` and against plain PyTorch.

    python benchmarks/step_time.py [REPEATS]

All train the model of params.yaml on random tokens. Plain PyTorch is the same model and optimizer
through torch's own linear layer, attention and batched product, with torch's default settings.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.interleave import ROOT, measure, serve, table
from tinyllm.config.params import load_params
from tinyllm.errors import TinyLLMError

STEPS = 20
VARIANTS = ("plain PyTorch", "portable", "fast")


def run_variant(variant: str) -> None:
    """Train steps on demand."""
    params = load_params(ROOT / "params.yaml")
    mode = "portable" if variant == "portable" else "fast"
    numerics = params["numerics"].model_copy(
        update={"mode": mode, "device": "cpu", "precision": "auto"}
    )
    from tinyllm.numerics import Arithmetic, setup_numerics

    if variant == "plain PyTorch":
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

    def work() -> float:
        for _ in range(STEPS):
            take_step(training)
        return STEPS

    serve(work)


def use_torchs_own_functions() -> None:
    """Let linear layers, attention and products go the way that torch takes by itself."""
    import torch

    from tinyllm.models import functional
    from tinyllm.training import muon

    functional._onednn_applies = lambda _: False
    muon.batched_matmul = torch.bmm


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
