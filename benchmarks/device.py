"""A training step on a GPU, and how long it takes to get to it: ours and nanoGPT's recipe for GPUs.

    python benchmarks/device.py [cuda|cpu] [STEPS]

All train on random tokens of an alphabet of 65, in the shape of that recipe: 6 layers, 6 heads, 384
wide, batches of 64 windows of 256 tokens, dropout 0.2. The peer is Hugging Face's `GPT2LMHeadModel`
in bfloat16, by `torch.compile` and fused AdamW. Ours trains by Muon, plain in float32, in bfloat16,
and compiled. Each runs in a new process; `first step` is the time from its start to the end of its
first step, so it counts imports and compilation. On a CPU all are reduced, so that this program can
be tried: those figures mean nothing.
"""

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

PEER = "GPT-2, bfloat16, compiled"
OURS = {
    "float32": {"precision": "float32"},
    "bfloat16": {"precision": "bfloat16"},
    "bfloat16, compiled": {"precision": "bfloat16", "compile": True},
}
VOCABULARY = 65


def shape(device: str) -> dict[str, int]:
    """The sizes that both models have."""
    if device == "cuda":
        return {"layers": 6, "heads": 6, "width": 384, "length": 256, "batch": 64}
    return {"layers": 2, "heads": 2, "width": 32, "length": 16, "batch": 4}


def peer(device: str):
    """One step of nanoGPT's recipe."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, logging

    logging.set_verbosity_error()
    torch.manual_seed(1337)
    size = shape(device)
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=size["length"],
        n_embd=size["width"],
        n_layer=size["layers"],
        n_head=size["heads"],
        bos_token_id=None,
        eos_token_id=None,
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.2),
    )
    model = GPT2LMHeadModel(config).to(device).train()
    compiled = torch.compile(model)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, (0.9, 0.99), fused=True)
    tokens = torch.randint(VOCABULARY, (1_000_000,))

    def step() -> float:
        starts = torch.randint(len(tokens) - size["length"], (size["batch"], 1))
        windows = tokens[starts + torch.arange(size["length"])]
        if device == "cuda":
            windows = windows.pin_memory()
        windows = windows.to(device, non_blocking=True)
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = compiled(input_ids=windows, labels=windows).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def ours(variant: str, device: str):
    """One step of ours."""
    from tinyllm.kernels.config import NumericsConfig
    from tinyllm.kernels.numerics import setup_numerics

    numerics = NumericsConfig(mode="fast", device=device, **OURS[variant])
    arithmetic = setup_numerics(numerics)
    import numpy as np

    from tinyllm.model.config import ModelConfig
    from tinyllm.tokens.windows import TokenData
    from tinyllm.training.config import TrainingConfig
    from tinyllm.training.loop import take_step
    from tinyllm.training.recipe import Recipe
    from tinyllm.training.run import set_up_training

    size = shape(device)
    model = ModelConfig(
        d_model=size["width"],
        num_heads=size["heads"],
        num_layers=size["layers"],
        d_ff=8 * size["width"] // 3,
        sequence_length=size["length"],
        dropout=0.2,
    )
    tokens = np.random.default_rng(1337).integers(VOCABULARY, size=1_000_000, dtype=np.uint8)
    data = TokenData(tokens, tokens[: 2 * size["length"]], VOCABULARY)
    recipe = Recipe(model, TrainingConfig(batch_size=size["batch"]), numerics)
    training = set_up_training(data, recipe, arithmetic)
    training.model.train()
    return lambda: take_step(training).loss


def child(variant: str, device: str, steps: int, started: float) -> None:
    """Print the seconds to the end of the first step, and of each of the later ones."""
    step = peer(device) if variant == PEER else ours(variant, device)
    step()
    first = time.time() - started
    # CUDA graphs are recorded in the next ones
    for _ in range(3):
        step()
    since = time.perf_counter()
    for _ in range(steps):
        step()
    print(first, (time.perf_counter() - since) / steps)


def main(device: str, steps: int) -> None:
    """Measure all and print a table."""
    size = shape(device)
    print("| | first step, s | then, ms per step | tokens per s |")
    print("|---|---|---|---|")
    for variant in (PEER, *OURS):
        program = [sys.executable, __file__, "--child", variant, device, str(steps)]
        program.append(str(time.time()))
        shown = subprocess.run(program, cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE)
        first, each = map(float, shown.stdout.split()[-2:])
        speed = size["batch"] * size["length"] / each
        print(f"| {variant} | {first:.1f} | {1000 * each:.2f} | {speed:,.0f} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5]))
    else:
        main(
            sys.argv[1] if len(sys.argv) > 1 else "cuda",
            int(sys.argv[2]) if len(sys.argv) > 2 else 100,
        )
