"""The inner loop: what a step and a validation do, and what they report."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tinyllm.base.errors import TinyLLMError
from tinyllm.model.config import ModelConfig
from tinyllm.tokens.windows import EvaluationLoader, OptimizedTextDataset
from tinyllm.training.config import TrainingConfig
from tinyllm.training.loop import SilentObserver, character_losses, evaluate, train_epoch
from tinyllm.training.optimizer import learning_rate_factor
from tinyllm.training.run import set_up_training

VOCAB = 9
SHAPE = ModelConfig(d_model=16, num_heads=2, num_layers=1, d_ff=24, sequence_length=8, dropout=0.1)
PATTERN = np.resize(np.array([1, 5, 2, 7, 3, 8, 4, 6], dtype=np.uint8), 400)


@pytest.fixture(autouse=True)
def _one_thread():
    """Such small matrices are not worth sharing out."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def set_up(arithmetic):
    def build(shape=SHAPE, **settings):
        config = TrainingConfig(
            **(
                {"max_steps": 12, "batch_size": 4, "warmup_steps": 2, "eval_interval": 5}
                | {"learning_rate": 0.02, "embedding_learning_rate": 0.01}
                | settings
            )
        )
        return set_up_training(PATTERN, PATTERN[:77], VOCAB, shape, config, arithmetic)

    return build


class Recorder(SilentObserver):
    """Keeps every report."""

    def __init__(self):
        self.steps, self.validations, self.weights = [], [], []

    def on_step(self, report):
        self.steps.append(report)

    def on_validation(self, report, weights):
        self.validations.append(report)
        self.weights.append(weights)


def run(training, observer=None, after_step=lambda: None):
    while training.progress.step < training.config.max_steps:
        train_epoch(training, observer or SilentObserver(), after_step)


def test_training_learns_the_pattern(set_up):
    training = set_up(max_steps=60, learning_rate=0.05, eval_interval=60)
    run(training)
    assert training.progress.best_val_loss < 0.3 * math.log(VOCAB)


def test_steps_are_reported_in_order(set_up):
    training, recorder = set_up(), Recorder()
    run(training, recorder)
    assert [report.step for report in recorder.steps] == list(range(1, 13))
    assert recorder.steps[0].loss == pytest.approx(math.log(VOCAB), abs=1e-5)
    assert all(report.gradient_norm > 0 for report in recorder.steps)
    rates = [0.02 * learning_rate_factor(step, training.config) for step in range(12)]
    assert [report.learning_rate for report in recorder.steps] == rates


@pytest.mark.parametrize(("parts", "characters"), [(1, 4 * 8), (3, 3 * 4 * 8)])
def test_characters_count_every_part_of_a_step(set_up, parts, characters):
    recorder = Recorder()
    run(set_up(max_steps=2, gradient_accumulation_steps=parts), recorder)
    assert [report.characters for report in recorder.steps] == [characters, characters]


def test_validation_comes_at_each_interval_and_at_the_end(set_up):
    training, recorder = set_up(), Recorder()
    run(training, recorder)
    assert [report.step for report in recorder.validations] == [5, 10, 12]
    assert [row["step"] for row in training.progress.history] == [5, 10, 12]
    for report, row in zip(recorder.validations, training.progress.history, strict=True):
        assert vars(report) == row


def test_validation_reports_the_mean_loss_since_the_last_one(set_up):
    recorder = Recorder()
    run(set_up(), recorder)
    losses = [report.loss for report in recorder.steps]
    expected = [np.mean(losses[0:5]), np.mean(losses[5:10]), np.mean(losses[10:12])]
    assert [report.train_loss for report in recorder.validations] == pytest.approx(expected)
    assert recorder.validations[1].gradient_norm == recorder.steps[9].gradient_norm


def test_weights_are_handed_out_only_when_they_are_the_best(set_up):
    training, recorder = set_up(max_steps=40, learning_rate=0.05, eval_interval=2), Recorder()
    # every third validation is on noise, which cannot be better than what was learned
    noise = np.random.default_rng(0).integers(1, VOCAB, 77).astype(np.uint8)
    plain, device = training.val_loader, training.arithmetic.device
    noisy = EvaluationLoader(OptimizedTextDataset(noise, 8, "val"), 4, device)

    def alternate():
        training.val_loader = noisy if training.progress.step % 6 == 5 else plain

    run(training, recorder, alternate)
    best, given = math.inf, 0
    for report, weights in zip(recorder.validations, recorder.weights, strict=True):
        assert (weights is not None) == (report.val_loss < best)
        best, given = min(best, report.val_loss), given + (weights is not None)
    assert 1 < given < len(recorder.weights)
    assert training.progress.best_val_loss == best


def test_best_weights_are_copies(set_up):
    training = set_up(max_steps=6, eval_interval=5)
    seen = []

    class Keeper(SilentObserver):
        def on_validation(self, report, weights):
            seen.append({name: tensor.clone() for name, tensor in weights.items()})

        def on_step(self, report):
            if seen:
                assert all(torch.equal(t, seen[0][n]) for n, t in training.best_weights.items())

    run(training, Keeper())
    assert len(seen) == 2


def test_epoch_ends_the_call_and_not_the_training(set_up):
    training = set_up(max_steps=500)
    train_epoch(training, SilentObserver(), lambda: None)
    assert training.train_loader.place.epoch == 1
    assert training.progress.step == math.ceil(len(training.train_loader._starts) / 4)


def test_last_step_ends_the_call_within_an_epoch(set_up):
    training = set_up(max_steps=3)
    train_epoch(training, SilentObserver(), lambda: None)
    assert (training.progress.step, training.train_loader.place.epoch) == (3, 0)


def test_after_step_comes_once_for_each_step_when_the_state_is_whole(set_up):
    training, seen = set_up(max_steps=6, eval_interval=3), []

    def after_step():
        assert all(parameter.grad is None for parameter in training.model.parameters())
        assert training.model.training
        seen.append((training.progress.step, len(training.progress.history)))

    run(training, after_step=after_step)
    assert seen == [(1, 0), (2, 0), (3, 1), (4, 1), (5, 1), (6, 2)]


@pytest.mark.parametrize("parts", [2, 4])
def test_accumulated_gradients_equal_those_of_one_large_batch(set_up, parts):
    shape = SHAPE.model_copy(update={"dropout": 0.0})
    large, small = Recorder(), Recorder()
    run(set_up(shape, max_steps=3, batch_size=8), large)
    run(set_up(shape, max_steps=3, batch_size=8 // parts, gradient_accumulation_steps=parts), small)
    for one, many in zip(large.steps, small.steps, strict=True):
        assert many.loss == pytest.approx(one.loss, abs=1e-3)
    assert small.steps[0].loss == pytest.approx(large.steps[0].loss, abs=1e-6)
    assert small.steps[0].gradient_norm == pytest.approx(large.steps[0].gradient_norm, rel=1e-5)


@pytest.mark.parametrize(("value", "word"), [(math.nan, "nan"), (math.inf, "nan|inf")])
def test_loss_that_is_no_number_names_the_step(set_up, value, word):
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


def test_training_that_diverges_is_stopped(set_up):
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
def test_evaluation_knows_no_dropout_and_leaves_the_mode(set_up, arithmetic, in_training):
    training = set_up(SHAPE.model_copy(update={"dropout": 0.5}))
    run(training)
    model = training.model.train(in_training)
    losses = {evaluate(model, training.val_loader, arithmetic) for _ in range(3)}
    assert len(losses) == 1
    assert model.training is in_training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_character_losses_have_the_shape_of_the_targets(set_up, arithmetic):
    training = set_up()
    inputs, targets = training.train_loader.next_batch()
    losses, logits = character_losses(training.model, inputs, targets, arithmetic)
    assert losses.shape == targets.shape == (4, 8)
    assert logits.shape == (4, 8, VOCAB)
    expected = torch.full((4, 8), math.log(VOCAB))
    torch.testing.assert_close(losses.detach(), expected, rtol=1e-5, atol=1e-5)


def test_mixed_precision_trains_on_the_cpu_too(set_up):
    training = set_up()
    training.arithmetic = replace(training.arithmetic, precision=torch.bfloat16, portable=False)
    before = evaluate(training.model, training.val_loader, training.arithmetic)
    train_epoch(training, SilentObserver(), lambda: None)
    assert evaluate(training.model, training.val_loader, training.arithmetic) < before - 0.2
