"""The inner loop: steps, validations and their events."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tinyllm.base.errors import TinyLLMError
from tinyllm.base.events import StepTaken, Validated, ignore
from tinyllm.kernels.products import Bfloat16Products
from tinyllm.model.config import ModelConfig
from tinyllm.model.transformer import Transformer
from tinyllm.tokens.loaders import EvaluationLoader
from tinyllm.tokens.windows import OptimizedTextDataset, TokenData
from tinyllm.training.config import TrainingConfig
from tinyllm.training.loop import train_epoch
from tinyllm.training.recipe import Recipe
from tinyllm.training.run import set_up_training
from tinyllm.training.schedule import learning_rate_factor
from tinyllm.training.validation import evaluate

VOCAB = 9
SHAPE = ModelConfig(d_model=16, num_heads=2, num_layers=1, d_ff=24, sequence_length=8, dropout=0.1)
PATTERN = np.resize(np.array([1, 5, 2, 7, 3, 8, 4, 6], dtype=np.uint8), 400)


@pytest.fixture
def set_up(arithmetic):
    def build(shape=SHAPE, arithmetic=arithmetic, **settings):
        config = TrainingConfig(
            **(
                {"max_steps": 12, "batch_size": 4, "warmup_steps": 2, "eval_interval": 5}
                | {"learning_rate": 0.02, "embedding_learning_rate": 0.01}
                | settings
            )
        )
        data = TokenData(PATTERN, PATTERN[:77], VOCAB)
        return set_up_training(data, Recipe(shape, config), arithmetic)

    return build


class Recorder:
    """Keeps every event."""

    def __init__(self):
        self.steps, self.validations = [], []

    def __call__(self, event):
        assert isinstance(event, StepTaken | Validated)
        (self.steps if isinstance(event, StepTaken) else self.validations).append(event)


def run(training, tell=ignore, after_step=lambda: None):
    while training.progress.step < training.config.max_steps:
        train_epoch(training, tell, after_step)


def test_a_run_learns_the_pattern(set_up):
    training = set_up(max_steps=60, learning_rate=0.05, eval_interval=60)
    run(training)
    assert training.progress.best_val_loss < 0.3 * math.log(VOCAB)


def test_steps_are_emitted_in_order(set_up):
    training, recorder = set_up(), Recorder()
    run(training, recorder)
    assert [event.step for event in recorder.steps] == list(range(1, 13))
    assert recorder.steps[0].loss == pytest.approx(math.log(VOCAB), abs=1e-5)
    assert all(event.gradient_norm > 0 for event in recorder.steps)
    rates = [0.02 * learning_rate_factor(step, training.config) for step in range(12)]
    assert [event.learning_rate for event in recorder.steps] == rates


@pytest.mark.parametrize(("count", "tokens"), [(1, 4 * 8), (3, 3 * 4 * 8)])
def test_tokens_count_every_microbatch_of_a_step(set_up, count, tokens):
    recorder = Recorder()
    run(set_up(max_steps=2, gradient_accumulation_steps=count), recorder)
    assert [event.tokens for event in recorder.steps] == [tokens, tokens]


def test_validation_comes_at_each_interval_and_at_the_end(set_up):
    training, recorder = set_up(), Recorder()
    run(training, recorder)
    assert [event.step for event in recorder.validations] == [5, 10, 12]
    assert [row["step"] for row in training.progress.history] == [5, 10, 12]
    for event, row in zip(recorder.validations, training.progress.history, strict=True):
        assert vars(event) == row | {"best": event.best}


def test_validation_reports_the_mean_loss_since_the_last_one(set_up):
    recorder = Recorder()
    run(set_up(), recorder)
    losses = [event.loss for event in recorder.steps]
    expected = [np.mean(losses[0:5]), np.mean(losses[5:10]), np.mean(losses[10:12])]
    assert [event.train_loss for event in recorder.validations] == pytest.approx(expected)
    assert recorder.validations[1].gradient_norm == recorder.steps[9].gradient_norm


def test_weights_are_kept_only_when_they_are_the_best(set_up):
    training, recorder = set_up(max_steps=40, learning_rate=0.05, eval_interval=2), Recorder()
    # every third validation is on noise, where the loss cannot be the best
    noise = np.random.default_rng(0).integers(1, VOCAB, 77).astype(np.uint8)
    plain, device = training.val_loader, training.arithmetic.device
    noisy = EvaluationLoader(OptimizedTextDataset(noise, 8, "val"), 4, device)
    kept = []

    def tell(event):
        recorder(event)
        if isinstance(event, Validated):
            weights = training.model.state_dict()
            best = training.best_weights
            kept.append(all(torch.equal(best[name], weights[name]) for name in weights))

    def alternate():
        training.val_loader = noisy if training.progress.step % 6 == 5 else plain

    run(training, tell, alternate)
    lowest = math.inf
    for event, is_kept in zip(recorder.validations, kept, strict=True):
        assert event.best == is_kept == (event.val_loss < lowest)
        lowest = min(lowest, event.val_loss)
    assert 1 < sum(kept) < len(kept)
    assert training.progress.best_val_loss == lowest
    best_steps = [event.step for event in recorder.validations if event.best]
    assert training.progress.best_step == best_steps[-1]


def test_best_weights_are_copies(set_up):
    training = set_up(max_steps=6, eval_interval=5)
    seen = []

    def tell(event):
        if isinstance(event, Validated):
            weights = training.best_weights.items()
            seen.append({name: tensor.clone() for name, tensor in weights})
        elif seen:
            assert all(torch.equal(t, seen[0][n]) for n, t in training.best_weights.items())

    run(training, tell)
    assert len(seen) == 2


def test_epoch_ends_the_call_and_not_the_run(set_up):
    training = set_up(max_steps=500)
    train_epoch(training, ignore, lambda: None)
    assert training.train_loader.place.epoch == 1
    assert training.progress.step == math.ceil(len(training.train_loader._starts) / 4)


def test_last_step_ends_the_call_within_an_epoch(set_up):
    training = set_up(max_steps=3)
    train_epoch(training, ignore, lambda: None)
    assert (training.progress.step, training.train_loader.place.epoch) == (3, 0)


def test_after_step_is_called_once_per_step_with_a_consistent_state(set_up):
    training, seen = set_up(max_steps=6, eval_interval=3), []

    def after_step():
        assert all(parameter.grad is None for parameter in training.model.parameters())
        assert training.model.training
        seen.append((training.progress.step, len(training.progress.history)))

    run(training, after_step=after_step)
    assert seen == [(1, 0), (2, 0), (3, 1), (4, 1), (5, 1), (6, 2)]


@pytest.mark.parametrize("count", [2, 4])
def test_accumulated_gradients_equal_those_of_one_large_batch(set_up, count):
    shape = SHAPE.model_copy(update={"dropout": 0.0})
    large, small = Recorder(), Recorder()
    run(set_up(shape, max_steps=3, batch_size=8), large)
    run(set_up(shape, max_steps=3, batch_size=8 // count, gradient_accumulation_steps=count), small)
    for one, many in zip(large.steps, small.steps, strict=True):
        assert many.loss == pytest.approx(one.loss, abs=1e-3)
    assert small.steps[0].loss == pytest.approx(large.steps[0].loss, abs=1e-6)
    assert small.steps[0].gradient_norm == pytest.approx(large.steps[0].gradient_norm, rel=1e-5)


@pytest.mark.parametrize(("value", "word"), [(math.nan, "nan"), (math.inf, "nan|inf")])
def test_a_nan_loss_names_the_step(set_up, value, word):
    training = set_up()

    def spoil():
        if training.progress.step == 3:
            with torch.no_grad():
                training.model.lm_head.weight.fill_(value)

    with pytest.raises(TinyLLMError, match=rf"The loss became ({word}) at step 4;") as caught:
        run(training, after_step=spoil)
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    assert training.progress.step == 3


def test_a_run_that_diverges_is_stopped(set_up):
    rates = {"learning_rate": 10, "embedding_learning_rate": 10, "weight_decay": 100}
    training = set_up(max_steps=60, warmup_steps=0, gradient_clip=0, **rates)
    with pytest.raises(TinyLLMError, match=r"The loss became \w+ at step \d+; lower train\."):
        run(training)


def test_evaluation_is_the_mean_over_all_characters(set_up, arithmetic):
    training = set_up()
    run(training)
    model = training.model.eval()
    losses = []
    for inputs, targets in training.val_loader:
        logits = model(inputs).flatten(0, 1)
        losses.append(F.cross_entropy(logits, targets.flatten(), reduction="none"))
    expected = torch.cat(losses)
    assert len(expected) == 76
    loss = evaluate(model, training.val_loader, arithmetic)
    assert loss == pytest.approx(expected.double().mean().item(), abs=1e-6)


@pytest.mark.parametrize("in_training", [True, False])
def test_evaluation_disables_dropout_and_restores_the_mode(set_up, arithmetic, in_training):
    training = set_up(SHAPE.model_copy(update={"dropout": 0.5}))
    run(training)
    model = training.model.train(in_training)
    losses = {evaluate(model, training.val_loader, arithmetic) for _ in range(3)}
    assert len(losses) == 1
    assert model.training is in_training
    assert all(parameter.grad is None for parameter in model.parameters())


def in_bfloat16(arithmetic):
    """Fast arithmetic as a CPU made for bfloat16 has it; others do it slowly."""
    products = Bfloat16Products()
    return replace(arithmetic, precision=torch.bfloat16, portable=False, products=products)


def test_training_in_bfloat16_learns_what_it_learns_in_float32(set_up, arithmetic):
    exact, rounded = Recorder(), Recorder()
    run(set_up(), exact)
    training = set_up(arithmetic=in_bfloat16(arithmetic))
    run(training, rounded)
    assert {p.dtype for p in training.model.parameters()} == {torch.float32}
    for one, other in zip(exact.steps, rounded.steps, strict=True):
        assert other.gradient_norm != one.gradient_norm
        assert other.loss == pytest.approx(one.loss, abs=0.05)


def test_only_training_rounds_to_bfloat16(set_up, arithmetic):
    rounding = in_bfloat16(arithmetic)
    training, exact = set_up(arithmetic=rounding), set_up()
    loss = evaluate(training.model, training.val_loader, rounding)
    assert loss == pytest.approx(evaluate(exact.model, exact.val_loader, arithmetic), abs=1e-6)


def test_the_plain_and_the_fused_model_learn_the_same(set_up, arithmetic, monkeypatch):
    fused, plain = Recorder(), Recorder()
    run(set_up(), fused)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    training = set_up()
    assert type(training.model) is Transformer
    run(training, plain)
    for one, other in zip(fused.steps, plain.steps, strict=True):
        assert other.loss == pytest.approx(one.loss, abs=1e-3)
        assert other.gradient_norm == pytest.approx(one.gradient_norm, rel=1e-2)
