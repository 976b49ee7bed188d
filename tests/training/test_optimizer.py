"""Optimizers: what each trains, learning rates, and gradient clipping."""

import math
from itertools import pairwise
from typing import get_args

import pytest
import torch

from tinyllm.base.errors import ConfigError
from tinyllm.base.section import field_type
from tinyllm.kernels.products import OnednnProducts
from tinyllm.model.config import ModelConfig
from tinyllm.model.initialization import init_weights
from tinyllm.model.transformer import Transformer
from tinyllm.training.adamw import AdamW
from tinyllm.training.bounded import BoundedSteps, equal_rows, soft_signs
from tinyllm.training.config import TrainingConfig
from tinyllm.training.muon import Muon
from tinyllm.training.optimizer import OPTIMIZERS, Optimizers, global_norm
from tinyllm.training.schedule import learning_rate_factor

VOCAB, PRODUCTS = 11, OnednnProducts(check=True)
SHAPE = ModelConfig(d_model=16, num_heads=2, num_layers=2, d_ff=24, sequence_length=8, dropout=0)
both = pytest.mark.parametrize("optimizer", OPTIMIZERS)


def model_of(tie_embeddings=False):
    model = Transformer(SHAPE.model_copy(update={"tie_embeddings": tie_embeddings}), VOCAB)
    init_weights(model, torch.Generator().manual_seed(0))
    return model


def config_of(**settings):
    return TrainingConfig(**({"max_steps": 20, "warmup_steps": 2, "weight_decay": 0.1} | settings))


def give_gradients(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def trained(optimizers, model, steps):
    for step in steps:
        give_gradients(model, seed=step)
        optimizers.step(step)
    return {name: p.detach().clone() for name, p in model.named_parameters()}


FINAL = {"final_learning_rate_fraction": 0.2}
NONE = {"final_learning_rate_fraction": 0.0}
SCHEDULE = {"max_steps": 100, "warmup_steps": 10, "decay": "linear"} | NONE
LINEAR = SCHEDULE | {"decay_fraction": 0.5}
COSINE = LINEAR | {"decay": "cosine"}


@pytest.mark.parametrize(
    ("settings", "step", "expected"),
    [
        (LINEAR, 0, 0.1),
        (LINEAR, 4, 0.5),
        (LINEAR, 9, 1.0),
        (LINEAR, 10, 1.0),
        (LINEAR, 55, 1.0),
        (LINEAR, 64, 1 - 9 / 45),
        (LINEAR, 99, 1 / 45),
        (LINEAR, 100, 0.0),
        (COSINE, 9, 1.0),
        (COSINE, 55, 1.0),
        (COSINE, 70, (1 + math.cos(math.pi / 3)) / 2),
        (COSINE, 85, (1 + math.cos(2 * math.pi / 3)) / 2),
        (COSINE, 100, 0.0),
        (LINEAR | FINAL, 0, 0.1),
        (LINEAR | FINAL, 55, 1.0),
        (LINEAR | FINAL, 64, 0.2 + 0.8 * 0.8),
        (LINEAR | FINAL, 100, 0.2),
        (COSINE | FINAL, 70, 0.2 + 0.8 * 0.75),
        (COSINE | FINAL, 100, 0.2),
        (SCHEDULE | {"decay_fraction": 0.0}, 99, 1.0),
        (SCHEDULE | {"decay_fraction": 1.0}, 10, 1.0),
        (SCHEDULE | {"decay_fraction": 1.0}, 55, 0.5),
        (SCHEDULE | {"warmup_steps": 0, "decay_fraction": 1.0}, 0, 1.0),
        (SCHEDULE | {"warmup_steps": 0, "decay_fraction": 1.0}, 50, 0.5),
        ({"max_steps": 5, "warmup_steps": 5}, 4, 1.0),
        ({"max_steps": 1, "warmup_steps": 0}, 0, 1.0),
        ({"max_steps": 10}, 0, 0.5),
        ({"max_steps": 1}, 0, 1.0),
    ],
)
def test_learning_rate_factor(settings, step, expected):
    factor = learning_rate_factor(step, TrainingConfig(**settings))
    assert factor == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("settings", [LINEAR, COSINE, LINEAR | FINAL, COSINE | FINAL])
def test_learning_rate_never_rises_after_warmup(settings):
    factors = [learning_rate_factor(step, TrainingConfig(**settings)) for step in range(100)]
    assert all(later > earlier for earlier, later in pairwise(factors[:10]))
    assert all(later <= earlier for earlier, later in pairwise(factors[9:]))
    assert all(0 < factor <= 1 for factor in factors)


@pytest.mark.parametrize("shapes", [[(5,)], [(3, 4)], [(7,), (3, 4), (1, 9), (130, 33)]])
def test_global_norm_equals_torchs(shapes):
    tensors = [torch.randn(shape) for shape in shapes]
    expected = torch.cat([tensor.flatten() for tensor in tensors]).double().norm()
    assert global_norm(tensors).item() == pytest.approx(expected.item(), rel=1e-6)
    assert global_norm(tensors).shape == ()


def test_threads_do_not_change_the_global_norm():
    tensors = [torch.randn(600, 500), torch.randn(50_000)]
    before = torch.get_num_threads()
    norms = []
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        norms.append(global_norm(tensors))
    torch.set_num_threads(before)
    assert norms[0] == norms[1] == norms[2]


@pytest.mark.parametrize("limit", [0.5, 3.0])
def test_large_gradients_are_clipped(limit):
    model = model_of()
    optimizers = Optimizers(model, config_of(gradient_clip=limit), PRODUCTS)
    give_gradients(model)
    before = [p.grad.clone() for p in model.parameters()]
    norm = optimizers.clip_gradients()
    assert norm.item() == pytest.approx(global_norm(before).item())
    assert norm > limit
    after = [p.grad for p in model.parameters()]
    assert global_norm(after).item() == pytest.approx(limit, rel=1e-5)
    for old, new in zip(before, after, strict=True):
        torch.testing.assert_close(new, old * (limit / norm))


@pytest.mark.parametrize("limit", [0.0, 1e6])
def test_gradients_below_the_limit_stay(limit):
    model = model_of()
    optimizers = Optimizers(model, config_of(gradient_clip=limit), PRODUCTS)
    give_gradients(model)
    before = [p.grad.clone() for p in model.parameters()]
    assert optimizers.clip_gradients().item() == pytest.approx(global_norm(before).item())
    for old, parameter in zip(before, model.parameters(), strict=True):
        assert torch.equal(parameter.grad, old)


@both
@pytest.mark.parametrize("tie_embeddings", [False, True])
def test_every_parameter_has_exactly_one_optimizer(optimizer, tie_embeddings):
    model = model_of(tie_embeddings)
    optimizers = Optimizers(model, config_of(optimizer=optimizer), PRODUCTS)
    owned = [id(p) for o in optimizers.all for group in o.param_groups for p in group["params"]]
    assert len(owned) == len(set(owned))
    assert set(owned) == {id(p) for p in model.parameters()}


@both
def test_matrices_inside_the_blocks_have_a_separate_optimizer(optimizer):
    model = model_of()
    first, *others = Optimizers(model, config_of(optimizer=optimizer), PRODUCTS).all
    inside = {id(p) for name, p in model.named_parameters() if "_proj" in name}
    assert {id(p) for group in first.param_groups for p in group["params"]} == inside
    kinds = [BoundedSteps, BoundedSteps, AdamW] if optimizer == "muon" else [AdamW]
    assert type(first) is (Muon if optimizer == "muon" else AdamW)
    assert [type(other) for other in others] == kinds


@both
def test_step_uses_all_peaks_and_the_schedule(optimizer):
    model = model_of()
    rates = {"learning_rate": 0.03, "embedding_learning_rate": 0.005}
    optimizers = Optimizers(model, config_of(optimizer=optimizer, **rates), PRODUCTS)
    give_gradients(model)
    optimizers.step(0)
    used = [o.param_groups[0]["lr"] for o in optimizers.all]
    assert used == ([0.015, 0.0025, 0.0025, 0.00075] if optimizer == "muon" else [0.015, 0.0025])
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("tied", [False, True])
def test_embedding_and_output_layer_take_steps_of_one_size(tied):
    model = model_of(tie_embeddings=tied)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    config = config_of(warmup_steps=0, embedding_learning_rate=0.2)
    after = trained(Optimizers(model, config, PRODUCTS), model, [0])
    logits = "embedding.weight" if tied else "lm_head.weight"
    output = after[logits] - before[logits] * (1 - 0.02)
    changes = output.abs().sum(dim=1) / (0.2 * 12)
    assert 0.8 < changes.min() < changes.max() <= 1.00001
    if not tied:
        rows = after["embedding.weight"] - before["embedding.weight"] * (1 - 0.2)
        torch.testing.assert_close(rows.square().mean(dim=1).sqrt(), torch.full((VOCAB,), 0.2))


def test_decay_bounds_embedding_and_output_layer():
    model = model_of()
    config = config_of(max_steps=400, decay_fraction=0.0, embedding_learning_rate=0.1)
    optimizers = Optimizers(model, config, PRODUCTS)
    for step in range(400):
        # the same direction at every step
        give_gradients(model, seed=0)
        optimizers.step(step)
    embedding, output = model.embedding.weight.detach(), model.lm_head.weight.detach()
    torch.testing.assert_close(embedding.square().mean(dim=1).sqrt(), torch.ones(VOCAB))
    assert output.abs().sum(dim=1).max() < 12 / 0.1


def test_tokens_that_do_not_occur_keep_their_embedding():
    weight = torch.nn.Parameter(torch.randn(5, 4))
    optimizer = BoundedSteps([weight], equal_rows, 0.1, 0.9, 1.0, 1.0)
    for row in (3, 1):
        before = weight.detach().clone()
        weight.grad = torch.zeros_like(weight)
        weight.grad[row] = 1e-6
        optimizer.step()
        assert (weight.detach() != before).any(dim=1).nonzero().tolist() == [[row]]


def test_signs_of_what_rounding_leaves_count_little():
    step = torch.tensor([[1.0, -1.0, 1e-7, 0.0], [1e-6, 1e-6, -1e-6, 1e-6]])
    signs = soft_signs(step) * 4
    exact = torch.tensor([[1.0, -1.0, 0.0, 0.0], [1.0, 1.0, -1.0, 1.0]])
    torch.testing.assert_close(signs, exact, rtol=0, atol=0.01)
    assert torch.equal(soft_signs(torch.zeros(2, 4)), torch.zeros(2, 4))


def test_adamw_trains_like_torchs():
    rates = {"learning_rate": 0.01, "embedding_learning_rate": 0.01}
    config = config_of(optimizer="adamw", adam_beta1=0.9, adam_beta2=0.95, **rates)
    ours, reference = model_of(), model_of()
    after = trained(Optimizers(ours, config, PRODUCTS), ours, range(6))
    inside = [p for name, p in reference.named_parameters() if "_proj" in name]
    outside = [p for name, p in reference.named_parameters() if "_proj" not in name]
    groups = [{"params": inside, "weight_decay": 0.1}, {"params": outside, "weight_decay": 0.0}]
    plain = torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.95), foreach=False)
    for step in range(6):
        give_gradients(reference, seed=step)
        for group in plain.param_groups:
            group["lr"] = 0.01 * learning_rate_factor(step, config)
        plain.step()
    for name, parameter in reference.named_parameters():
        torch.testing.assert_close(after[name], parameter.detach(), rtol=1e-5, atol=1e-5)


@both
def test_state_can_be_restored(optimizer):
    config = config_of(optimizer=optimizer)
    undisturbed = model_of()
    expected = trained(Optimizers(undisturbed, config, PRODUCTS), undisturbed, range(6))
    first = model_of()
    stopped = Optimizers(first, config, PRODUCTS)
    trained(stopped, first, range(3))
    second = model_of()
    second.load_state_dict(first.state_dict())
    resumed = Optimizers(second, config, PRODUCTS)
    resumed.load_state_tensors({k: v.clone() for k, v in stopped.state_tensors().items()})
    after = trained(resumed, second, range(3, 6))
    assert all(torch.equal(after[name], expected[name]) for name in expected)


@both
def test_state_names_each_weight_once(optimizer):
    model = model_of()
    optimizers = Optimizers(model, config_of(optimizer=optimizer), PRODUCTS)
    assert optimizers.state_tensors() == {}
    trained(optimizers, model, [0])
    matrices, others = 8, 11
    expected = matrices * 2 + 2 + 9 * 3 if optimizer == "muon" else 3 * (matrices + others)
    assert len(optimizers.state_tensors()) == expected


def test_choices_and_optimizers_are_the_same():
    assert get_args(field_type(TrainingConfig, "optimizer")) == tuple(OPTIMIZERS)


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(ConfigError) as caught:
        TrainingConfig.parse({"optimizer": "sgd"})
    assert str(caught.value) == "train.optimizer: should be 'muon' or 'adamw', got 'sgd'."
    unchecked = TrainingConfig.model_construct(**config_of().model_dump() | {"optimizer": "sgd"})
    with pytest.raises(KeyError, match="sgd"):
        Optimizers(model_of(), unchecked, PRODUCTS)


def test_an_optimizer_is_one_entry(monkeypatch):
    """An entry of `OPTIMIZERS` receives all weights by name."""
    given = {}

    def plain(named, config, products, shards):
        given.update(named)
        assert products is PRODUCTS
        return [torch.optim.SGD(list(named.values()), config.learning_rate)]

    monkeypatch.setitem(OPTIMIZERS, "sgd", plain)
    config = TrainingConfig.model_construct(**config_of().model_dump() | {"optimizer": "sgd"})
    model = model_of()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizers = Optimizers(model, config, PRODUCTS)
    give_gradients(model)
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    optimizers.step(5)
    assert set(given) == set(before)
    rate = config.learning_rate * learning_rate_factor(5, config)
    for name, weight in given.items():
        torch.testing.assert_close(weight.detach(), before[name] - rate * gradients[name])
