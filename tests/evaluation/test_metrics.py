"""The metrics of an evaluation against sums by hand."""

import math

import numpy as np
import pytest
import torch

from tinyllm.evaluation.metrics import (
    CharacterScores,
    bits_by_position,
    rounded,
    score_characters,
    summarize,
)
from tinyllm.model.config import ModelConfig
from tinyllm.model.initialization import init_weights
from tinyllm.model.transformer import Transformer
from tinyllm.tokens.shards import load_tokens
from tinyllm.tokens.windows import EvaluationLoader, OptimizedTextDataset
from tinyllm.training.loop import evaluate

LN2 = math.log(2)
# four characters of 1, 2, 3 and 2 bits
SCORES = CharacterScores(
    nats=np.array([LN2, 2 * LN2, 3 * LN2, 2 * LN2]),
    rank=np.array([0, 1, 4, 5]),
    position=np.array([1, 2, 1, 3]),
)


@pytest.fixture(autouse=True)
def one_thread():
    """More threads do not help a small model."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def loader_of(tokens, length, arithmetic, batch_size=4):
    return EvaluationLoader(
        OptimizedTextDataset(tokens, length, "test"), batch_size, arithmetic.device
    )


def test_the_headline_figures_of_four_characters():
    assert summarize(SCORES, characters=5, size_in_bytes=10) == {
        "loss": round(2 * LN2, 6),
        "perplexity": 4.0,
        "bits_per_character": 2.0,
        "bits_per_byte": 1.0,
        "top1_accuracy": 0.25,
        "top5_accuracy": 0.75,
    }


def test_bits_per_byte_equal_bits_per_character_in_ascii():
    figures = summarize(SCORES, characters=5, size_in_bytes=5)
    assert figures["bits_per_byte"] == figures["bits_per_character"]


def test_bits_by_position_are_means_over_equal_context():
    assert bits_by_position(SCORES) == [
        {"context": 1, "bits": 2.0},
        {"context": 2, "bits": 2.0},
        {"context": 3, "bits": 2.0},
    ]
    uneven = CharacterScores(SCORES.nats, SCORES.rank, np.array([1, 2, 2, 2]))
    assert bits_by_position(uneven) == [
        {"context": 1, "bits": 1.0},
        {"context": 2, "bits": rounded(7 / 3)},
    ]


@pytest.mark.parametrize(
    ("value", "expected"), [(1 / 3, 0.333333), (2, 2.0), (np.float32(0.5), 0.5), (1e-9, 0.0)]
)
def test_rounding_keeps_six_decimals(value, expected):
    result = rounded(value)
    assert result == expected
    assert type(result) is float


def test_a_model_that_knows_nothing_pays_the_logarithm_of_the_vocabulary(arithmetic):
    config = ModelConfig(d_model=8, num_heads=1, num_layers=1, d_ff=8, sequence_length=5)
    model = Transformer(config, vocab_size=16)
    init_weights(model, torch.Generator().manual_seed(0))
    tokens = np.arange(18, dtype=np.uint8) % 16
    scores = score_characters(model, loader_of(tokens, 5, arithmetic, batch_size=2), arithmetic)
    assert scores.nats == pytest.approx(np.full(17, math.log(16)))
    assert scores.rank.tolist() == [0] * 17
    # three full windows and the two remaining characters
    assert scores.position.tolist() == [1, 2, 3, 4, 5] * 3 + [1, 2]


def test_scores_agree_with_one_window_at_a_time(checkpoint, tokens, arithmetic):
    held_out = load_tokens(tokens, "test")[:150]
    length = checkpoint.model.config.sequence_length
    scores = score_characters(checkpoint.model, loader_of(held_out, length, arithmetic), arithmetic)
    nats, ranks, positions = [], [], []
    for start in range(0, len(held_out) - 1, length):
        window = torch.from_numpy(held_out[start : start + length + 1].astype(np.int64))
        with torch.no_grad():
            logits = checkpoint.model(window[None, :-1])[0]
        for place, (row, target) in enumerate(zip(logits.double(), window[1:], strict=True)):
            nats.append(float(torch.logsumexp(row, 0) - row[target]))
            ranks.append(int((row > row[target]).sum()))
            positions.append(place + 1)
    assert scores.nats == pytest.approx(np.array(nats), abs=1e-5)
    assert scores.rank.tolist() == ranks
    assert scores.position.tolist() == positions


def test_every_character_but_the_first_is_scored_once_as_in_validation(
    checkpoint, tokens, arithmetic
):
    held_out = load_tokens(tokens, "val")
    loader = loader_of(held_out, checkpoint.model.config.sequence_length, arithmetic, 16)
    scores = score_characters(checkpoint.model, loader, arithmetic)
    assert len(scores.nats) == len(scores.rank) == len(scores.position) == len(held_out) - 1
    assert scores.nats.mean() == pytest.approx(evaluate(checkpoint.model, loader, arithmetic))
    assert scores.nats.mean() == pytest.approx(checkpoint.training["val_loss"])


def test_dropout_is_off_while_scoring(checkpoint, tokens, arithmetic):
    loader = loader_of(load_tokens(tokens, "val")[:500], 32, arithmetic)
    first = score_characters(checkpoint.model.train(), loader, arithmetic)
    second = score_characters(checkpoint.model.eval(), loader, arithmetic)
    assert np.array_equal(first.nats, second.nats)
