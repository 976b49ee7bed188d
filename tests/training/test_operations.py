"""No operation of a training step may depend on the CPU's vendor."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tinyllm.inference.config import SamplingConfig
from tinyllm.inference.generate import generate_text
from tinyllm.kernels import products
from tinyllm.kernels.products import OnednnProducts
from tinyllm.model.config import ModelConfig
from tinyllm.tokens.windows import TokenData
from tinyllm.training.config import TrainingConfig
from tinyllm.training.recipe import Recipe
from tinyllm.training.run import run_training

# whose last bit depends on the CPU's vendor even when ATen, oneDNN and MKL are capped
BANNED = {"sqrt", "log10", "log2", "asin", "acos", "atan", "atan2", "tan", "_cdist_forward"}
DOUBLE_BANNED = {"log", "log1p"}
# MKL's products are the same everywhere only when capped, and then depend on the thread count
MKL_PRODUCTS = {"mm", "bmm", "addmm", "addbmm", "baddbmm", "addmv", "mv", "dot"}
# these use oneDNN instead if they are large enough and the CPU has AVX-512
ONEDNN_PRODUCTS = {"mm": 0, "bmm": 0, "addmm": 1}


class Walk(TorchDispatchMode):
    """Records every operation, and the banned ones."""

    def __init__(self, *, products: bool):
        super().__init__()
        self.seen: set[str] = set()
        self.found: list[str] = []
        self.banned = BANNED | (MKL_PRODUCTS if products else set())

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix("aten::")
        plain = name.removeprefix("_foreach_").removesuffix("_")
        self.seen.add(name)
        double = any(isinstance(a, torch.Tensor) and a.dtype == torch.float64 for a in args)
        root = plain == "pow" and any(a in (0.5, -0.5) for a in args if isinstance(a, float))
        banned = plain in self.banned and not reaches_onednn(name, args)
        if banned or root or (double and plain in DOUBLE_BANNED):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


def reaches_onednn(name, args):
    if name not in ONEDNN_PRODUCTS or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    a, b = args[ONEDNN_PRODUCTS[name] :][:2]
    sent = torch.backends.mkldnn.matmul.fp32_precision == "bf16" and a.dtype == torch.float32
    return sent and a.numel() * b.shape[-1] > 16**3


def walk_training(arithmetic, optimizer):
    shape = ModelConfig(
        d_model=32, num_heads=2, num_layers=2, d_ff=48, sequence_length=16, dropout=0.1
    )
    config = TrainingConfig(
        max_steps=2, warmup_steps=1, batch_size=4, eval_interval=1, optimizer=optimizer
    )
    tokens = np.random.default_rng(1).integers(1, 9, 400).astype(np.uint8)
    with Walk(products=True) as walk:
        run_training(TokenData(tokens, tokens[:80], 9), Recipe(shape, config), arithmetic)
    return walk


@pytest.mark.parametrize("avx512", [True, False])
@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_training_step_runs_no_banned_operation(arithmetic, optimizer, avx512, monkeypatch):
    if not avx512:
        monkeypatch.setattr(products, "_torch_asks_onednn", lambda: False)
    elif not products._torch_asks_onednn():
        pytest.skip("this CPU has no AVX-512")
    # AVX-512 convolutions have another accumulation order; a CPU with AVX-512 must not run any
    portable = replace(arithmetic, products=OnednnProducts(check=avx512))
    walk = walk_training(portable, optimizer)
    assert walk.found == []
    # forward pass, backward pass and optimizer were recorded
    assert "_fused_adamw_" in walk.seen
    assert {"mkldnn::_linear_pointwise", "sigmoid"} <= walk.seen
    assert ("bmm" if avx512 else "convolution") in walk.seen


def test_generation_runs_no_banned_operation(checkpoint):
    with Walk(products=False) as walk:
        generate_text(checkpoint, "What news", SamplingConfig(max_new_tokens=40, top_p=0.9))
    assert walk.found == []


@pytest.mark.parametrize(
    "operation",
    [
        torch.sqrt,
        lambda x: x**0.5,
        lambda x: torch._foreach_sqrt([x]),
        lambda x: x.double().log(),
        lambda x: x @ x,
        torch.atan,
        lambda x: torch.cdist(x, x),
    ],
)
def test_the_walk_finds_each_banned_operation(operation):
    with Walk(products=True) as walk:
        operation(torch.ones(3, 3))
    assert len(walk.found) == 1
    with Walk(products=True) as walk:
        torch.ones(3, 3).rsqrt().log() ** 2
    assert walk.found == []


def test_unfused_adamw_would_be_found():
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([weight], fused=False)
    weight.sum().backward()
    with Walk(products=True) as walk:
        optimizer.step()
    assert any("sqrt" in name for name in walk.found)
