"""What a GPU computes: the plain model, compiled or not, in mixed precision, read once a step.

Where there is no GPU, the CPU takes the same path, and tensors without data take the branches that
only other devices take.
"""

import contextlib
import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from tinyllm.kernels.arithmetic import Arithmetic
from tinyllm.kernels.products import Products
from tinyllm.model.config import ModelConfig
from tinyllm.model.transformer import Transformer
from tinyllm.tokens.windows import TokenData
from tinyllm.training.config import TrainingConfig
from tinyllm.training.gradients import batch_gradients
from tinyllm.training.loop import take_step, train_epoch
from tinyllm.training.optimizer import Optimizers
from tinyllm.training.recipe import Recipe
from tinyllm.training.run import set_up_training
from tinyllm.training.validation import evaluate

VOCAB = 9
SHAPE = ModelConfig(d_model=16, num_heads=2, num_layers=2, d_ff=24, sequence_length=8, dropout=0.1)
PATTERN = np.resize(np.array([1, 5, 2, 7, 3, 8, 4, 6], dtype=np.uint8), 400)
NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
devices = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NO_GPU)])


def plain(device, compiler="", precision=torch.bfloat16):
    return Arithmetic(torch.device(device), precision, False, Products(), compiler)


@pytest.fixture
def on_plain_path(monkeypatch):
    """Also the CPU takes the plain model without a compiler."""
    monkeypatch.setattr(Arithmetic, "fused", False)


def set_up(arithmetic, **settings):
    defaults = {"max_steps": 20, "batch_size": 4, "warmup_steps": 2, "eval_interval": 10}
    rates = {"learning_rate": 0.05, "embedding_learning_rate": 0.02, "teacher_order": 3}
    config = TrainingConfig(**(defaults | rates | settings))
    data = TokenData(PATTERN, PATTERN[:77], VOCAB)
    return set_up_training(data, Recipe(SHAPE, config), arithmetic)


def run(training):
    losses = []
    while training.progress.step < training.config.max_steps:
        train_epoch(training, lambda event: losses.append(getattr(event, "loss", None)), list)
    return [loss for loss in losses if loss is not None]


class Operations(TorchDispatchMode):
    """Records the name of every operation."""

    def __init__(self):
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.append(func._schema.name.removeprefix("aten::"))
        return func(*args, **(kwargs or {}))


READ = "_local_scalar_dense"


@devices
@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize("count", [1, 2])
def test_no_number_is_read_before_a_step_has_been_told_as_a_whole(
    device, optimizer, count, on_plain_path
):
    training = set_up(plain(device), optimizer=optimizer, gradient_accumulation_steps=count)
    training.model.train()
    take_step(training)
    with Operations() as operations:
        take_step(training)
    assert operations.seen.count("_fused_adamw_") == (1 if optimizer == "muon" else 2)
    assert READ not in operations.seen


@devices
def test_the_losses_of_a_validation_are_read_behind_its_last_batch(device, on_plain_path):
    training = set_up(plain(device))
    with Operations() as operations:
        evaluate(training.model, training.val_loader, training.arithmetic)
    reads = [index for index, name in enumerate(operations.seen) if name == READ]
    last_product = max(index for index, name in enumerate(operations.seen) if "mm" in name)
    assert len(reads) == len(training.val_loader)
    assert len(reads) > 1
    assert reads[0] > last_product


@devices
@pytest.mark.parametrize("count", [1, 2])
def test_a_compiled_model_learns_what_the_plain_one_does(device, count):
    compiler = "aot_eager" if device == "cpu" else "inductor"
    expected = run(set_up(plain("cpu", precision=torch.float64), gradient_accumulation_steps=count))
    training = set_up(plain(device, compiler), gradient_accumulation_steps=count)
    assert type(training.model) is Transformer
    assert training.network is not training.model
    assert training.network.state_dict().keys() != training.model.state_dict().keys()
    losses = run(training)
    assert losses == pytest.approx(expected, abs=0.1)
    assert losses[-1] < 0.6 * math.log(VOCAB)
    assert {p.dtype for p in training.model.parameters()} == {torch.float32}


@pytest.mark.slow
@pytest.mark.exhaustive
def test_torchs_own_compiler_learns_it_too():
    expected = run(set_up(plain("cpu", precision=torch.float64)))
    assert run(set_up(plain("cpu", "inductor"))) == pytest.approx(expected, abs=0.1)


@devices
def test_attention_gets_bfloat16_from_the_norms_of_its_heads(device, on_plain_path, monkeypatch):
    training, given = set_up(plain(device)), []
    attention = F.scaled_dot_product_attention

    def recorded(*tensors, **settings):
        given.extend(tensor.dtype for tensor in tensors)
        assert settings == {"is_causal": True}
        return attention(*tensors, **settings)

    monkeypatch.setattr(F, "scaled_dot_product_attention", recorded)
    with warnings.catch_warnings(action="error"):
        take_step(training)
    assert given == [torch.bfloat16] * 3 * SHAPE.num_layers


def test_a_step_needs_no_value_on_another_device(on_plain_path, monkeypatch):
    """On a device without data, a value that is read is an error, as is a mixture of devices."""
    meta = torch.device("meta")
    # torch has none for it
    monkeypatch.setattr(Arithmetic, "autocast", lambda _: contextlib.nullcontext())
    training = set_up(plain("cpu", precision=torch.float32))
    training.arithmetic = replace(training.arithmetic, device=meta)
    training.model.to(meta)
    training.optimizers = Optimizers(training.model, training.config, Products())
    teacher = training.teacher
    for name in ("_children", "_table", "_powers"):
        setattr(teacher, name, getattr(teacher, name).to(meta))
    loss = batch_gradients(training, *training.train_loader.next_batch())
    norm = training.optimizers.clip_gradients()
    training.optimizers.step(0)
    assert loss.device == norm.device == meta
    assert loss.shape == norm.shape == ()
    assert {t.device.type for t in training.optimizers.state_tensors().values()} == {"meta"}


@NO_GPU
def test_a_step_waits_for_the_gpu_once():
    training = set_up(plain("cuda"))
    for _ in range(3):
        take_step(training)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True, action="always") as caught:
            take_step(training)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len([w for w in caught if "synchroniz" in str(w.message)]) == 1


@NO_GPU
@pytest.mark.parametrize("count", [1, 2])
def test_a_gpu_computes_the_same_twice(count):
    settings = {"gradient_accumulation_steps": count}
    runs = [run(set_up(plain("cuda", "inductor"), **settings)) for _ in range(2)]
    assert runs[0] == runs[1]
