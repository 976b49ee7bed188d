"""The n-gram teacher: its distributions against counts by hand, and its effect on a run."""

from collections import Counter

import numpy as np
import pytest
import torch

from tests.conftest import SMALL_MODEL, SMALL_TRAINING
from tinyllm.tokens.windows import TokenData, load_token_data
from tinyllm.training import teacher as module
from tinyllm.training.config import TrainingConfig
from tinyllm.training.recipe import Recipe
from tinyllm.training.run import run_training
from tinyllm.training.schedule import teacher_weight
from tinyllm.training.teacher import NgramTeacher

CPU = torch.device("cpu")
VOCAB = 6
DISCOUNT = 0.75
TEXT = np.random.default_rng(5).integers(1, VOCAB, 300).astype(np.uint8)
LENGTH = 12


def by_hand(context: tuple[int, ...]) -> np.ndarray:
    """Interpolated absolute discounting, straight from its definition."""
    text = TEXT.tolist()
    if not context:
        counts = Counter(text)
        return np.array([(counts[c] + 1) / (len(text) + VOCAB) for c in range(VOCAB)])
    length = len(context)
    followers = Counter(
        text[i] for i in range(length, len(text)) if tuple(text[i - length : i]) == context
    )
    if not followers:
        return by_hand(context[1:])
    kept = np.array([max(followers[c] - DISCOUNT, 0) for c in range(VOCAB)])
    given = DISCOUNT * len(followers) * by_hand(context[1:])
    return (kept + given) / followers.total()


def windows(starts):
    cut = torch.from_numpy(np.stack([TEXT[s : s + LENGTH + 1] for s in starts]).astype(np.int64))
    return cut[:, :-1], cut[:, 1:]


@pytest.mark.parametrize("order", [1, 2, 3, 5, 9, 16])
def test_distributions_are_those_counted_by_hand(order):
    inputs, targets = windows([0, 7, 150, 287])
    found = NgramTeacher(TEXT, VOCAB, order, CPU).soften(inputs, targets)
    assert found.shape == (4, LENGTH, VOCAB)
    for row, window in zip(found, inputs.tolist(), strict=True):
        for place in range(LENGTH):
            context = tuple(window[max(0, place - order + 2) : place + 1]) if order > 1 else ()
            np.testing.assert_allclose(row[place].numpy(), by_hand(context), atol=1e-6)


def test_distributions_sum_to_one_and_favor_what_came():
    inputs, targets = windows(range(0, 280, 9))
    found = NgramTeacher(TEXT, VOCAB, 6, CPU).soften(inputs, targets)
    torch.testing.assert_close(found.sum(-1), torch.ones(found.shape[:2]))
    of_target = found.gather(-1, targets[..., None])
    assert of_target.mean() > 2 / VOCAB


def test_windows_shorter_than_the_order_have_soft_targets_too():
    inputs, targets = (tensor[:, :2] for tensor in windows([3]))
    found = NgramTeacher(TEXT, VOCAB, 9, CPU).soften(inputs, targets)
    expected = by_hand(tuple(inputs[0].tolist()))
    np.testing.assert_allclose(found[0, 1].numpy(), expected, atol=1e-6)


def test_a_table_that_would_be_too_large_keeps_the_common_contexts(monkeypatch):
    whole = NgramTeacher(TEXT, VOCAB, 4, CPU)
    monkeypatch.setattr(module, "_MOST_NUMBERS", 10 * VOCAB)
    small = NgramTeacher(TEXT, VOCAB, 4, CPU)
    assert len(small._table) <= 1 + 3 * 10 < len(whole._table)
    inputs, targets = windows([20, 40])
    torch.testing.assert_close(small.soften(inputs, targets).sum(-1), torch.ones(2, LENGTH))


def test_counts_of_a_part_are_those_within_its_passages(monkeypatch):
    monkeypatch.setattr(module, "_SHORTEST", 50)
    part = NgramTeacher(TEXT, VOCAB, 4, CPU, most=100)
    assert part.counted == 100
    monkeypatch.setattr(module, "_BLOCK", 7)
    in_blocks = NgramTeacher(TEXT, VOCAB, 4, CPU, most=100)
    assert torch.equal(in_blocks._table, part._table)
    assert torch.equal(in_blocks._children, part._children)
    # contexts before another character of the same passage, of which those that come twice count
    passages = [TEXT[:49].tolist(), TEXT[150:199].tolist()]
    nodes = 1
    for length in (1, 2, 3):
        contexts = Counter(
            tuple(passage[start : start + length])
            for passage in passages
            for start in range(len(passage) - length + 1)
        )
        nodes += sum(count > 1 for count in contexts.values())
    assert len(part._table) == nodes


@pytest.mark.parametrize("vocab_size", [9_001, 70_001])
def test_a_large_alphabet_has_soft_targets_too(vocab_size):
    text = (np.arange(50_000, dtype=np.uint64) ** 2 % vocab_size).astype(np.uint32)
    found = NgramTeacher(text, vocab_size, 3, CPU, most=20_000)
    assert found.counted <= 20_000
    window = torch.from_numpy(text[:9].astype(np.int64))[None]
    soft = found.soften(window[:, :-1], window[:, 1:])
    torch.testing.assert_close(soft.sum(-1), torch.ones(1, 8))


def test_an_order_below_one_is_refused():
    with pytest.raises(ValueError, match="nothing to count"):
        NgramTeacher(TEXT, VOCAB, 0, CPU)


def test_its_weight_goes_from_the_first_to_the_last_value():
    config = TrainingConfig(
        max_steps=11, warmup_steps=2, teacher_weight=0.8, final_teacher_weight=0.3
    )
    weights = [teacher_weight(step, config) for step in range(11)]
    assert weights == pytest.approx(np.linspace(0.8, 0.3, 11).tolist())
    alone = TrainingConfig(max_steps=1, warmup_steps=1)
    assert teacher_weight(0, alone) == alone.teacher_weight


@pytest.fixture
def train(tokens, arithmetic):
    """Train a small model on the sample; returns its loss on the text itself."""
    data = load_token_data(tokens)
    short = TokenData(data.train, data.val[:800], data.vocab_size)

    def run(**settings):
        rates = {"learning_rate": 0.05, "embedding_learning_rate": 0.1}
        settings = {"max_steps": 30, "eval_interval": 30, **rates, **settings}
        config = SMALL_TRAINING.model_copy(update=settings)
        return run_training(short, Recipe(SMALL_MODEL, config), arithmetic)

    return run


def test_a_short_run_learns_more_with_it(train):
    alone, taught = train(), train(teacher_order=4, final_teacher_weight=1.0)
    assert taught.best_val_loss < alone.best_val_loss - 0.02


def test_a_weight_of_zero_changes_no_bit(train):
    alone = train(max_steps=3)
    idle = train(max_steps=3, teacher_order=4, teacher_weight=0.0, final_teacher_weight=0.0)
    assert all(torch.equal(alone.weights[name], idle.weights[name]) for name in alone.weights)


def test_microbatches_have_the_same_soft_targets(train):
    settings = {"max_steps": 3, "teacher_order": 4}
    whole = train(**settings, batch_size=8)
    divided = train(**settings, batch_size=2, gradient_accumulation_steps=4)
    losses = [result.history[-1]["train_loss"] for result in (whole, divided)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
