"""The metrics of an evaluation against sums by hand."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tokenizers import learned
from tinyllm.base.files import rounded
from tinyllm.evaluation.metrics import (
    Scores,
    bits_by_position,
    score_tokens,
    summarize,
    surprise_of_characters,
)
from tinyllm.model.config import ModelConfig
from tinyllm.model.initialization import init_weights
from tinyllm.model.transformer import Transformer
from tinyllm.tokens.loaders import EvaluationLoader
from tinyllm.tokens.meta import SplitFacts
from tinyllm.tokens.shards import load_tokens
from tinyllm.tokens.windows import OptimizedTextDataset
from tinyllm.training.validation import evaluate

LN2 = math.log(2)
# four characters of 1, 2, 3 and 2 bits
SCORES = Scores(
    nats=np.array([4 * LN2, 2 * LN2, 2 * LN2, 0.0]),
    counts=np.array([2, 1, 1, 0]),
    likeliest=1,
    among_five=3,
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


def split(tokens=1, characters=1, size=1, unknown=None):
    """The facts of a split without shards."""
    return SplitFacts.model_construct(
        tokens=tokens, characters=characters, bytes=size, unknown_characters=unknown or {}
    )


def test_the_headline_figures_of_four_characters():
    assert summarize(SCORES, split(tokens=5, characters=5, size=10)) == {
        "loss": round(2 * LN2, 6),
        "perplexity": 4.0,
        "bits_per_character": 2.0,
        "bits_per_byte": 1.0,
        "top1_accuracy": 0.25,
        "top5_accuracy": 0.75,
    }


def test_bits_per_byte_equal_bits_per_character_in_ascii():
    figures = summarize(SCORES, split(tokens=5, characters=5, size=5))
    assert figures["bits_per_byte"] == figures["bits_per_character"]


def test_bits_are_those_of_the_text_whatever_a_token_is():
    figures = summarize(SCORES, split(tokens=5, characters=20, size=25))
    assert figures["loss"] == round(2 * LN2, 6)
    # five tokens of two bits
    assert figures["bits_per_character"] == 10 / 20
    assert figures["bits_per_byte"] == 10 / 25


def test_an_unknown_character_costs_what_its_token_leaves_open():
    figures = summarize(SCORES, split(tokens=10, characters=10, size=12, unknown={"\u2603": 2}))
    spelled = 2 * math.log2(1_112_064)
    assert figures["bits_per_character"] == rounded(2 + spelled / 10)
    assert figures["bits_per_byte"] == rounded((20 + spelled) / 12)
    assert figures["loss"] == round(2 * LN2, 6)


@given(st.text("ab\u00e9\u6f22\U0001f600 "), st.sampled_from(["char", "byte", "bpe"]))
def test_the_surprise_of_a_text_is_that_of_its_tokens(text, kind):
    tokenizer = learned(kind)
    tokens = tokenizer.encode(text).tolist()
    losses = [LN2 * (1 + number % 3) for number in range(len(tokens))]
    found, bits = surprise_of_characters(tokenizer.stream(), tokens, losses)
    assert found == tokenizer.decode(tokens)
    assert len(bits) == len(found)
    assert bits.sum() == pytest.approx(sum(losses) / LN2)


def test_bits_by_position_are_means_over_equal_context():
    assert bits_by_position(SCORES, split()) == [
        {"context": 1, "bits": 2.0},
        {"context": 2, "bits": 2.0},
        {"context": 3, "bits": 2.0},
    ]
    uneven = Scores(np.array([LN2, 7 * LN2]), np.array([1, 3]))
    assert bits_by_position(uneven, split()) == [
        {"context": 1, "bits": 1.0},
        {"context": 2, "bits": rounded(7 / 3)},
    ]


def test_bits_by_position_are_those_of_the_whole_split_if_there_is_one_position():
    scores = Scores(np.array([6 * LN2]), np.array([3]))
    some = split(tokens=3, characters=4, unknown={"é": 1})
    (row,) = bits_by_position(scores, some)
    assert row["bits"] == summarize(scores, some)["bits_per_character"] > 5


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
    scores = score_tokens(model, loader_of(tokens, 5, arithmetic, batch_size=2), arithmetic)
    # three full windows and the two remaining characters
    assert scores.counts.tolist() == [4, 4, 3, 3, 3]
    assert scores.nats == pytest.approx(scores.counts * math.log(16))
    assert scores.first == pytest.approx([math.log(16)] * 17)
    assert scores.likeliest == scores.among_five == 17


def test_scores_agree_with_one_window_at_a_time(checkpoint, tokens, arithmetic):
    held_out = load_tokens(tokens, "test")[:150]
    length = checkpoint.model.config.sequence_length
    scores = score_tokens(checkpoint.model, loader_of(held_out, length, arithmetic), arithmetic)
    nats, ranks, of_position = [], [], np.zeros(length)
    for start in range(0, len(held_out) - 1, length):
        window = torch.from_numpy(held_out[start : start + length + 1].astype(np.int64))
        with torch.no_grad():
            logits = checkpoint.model(window[None, :-1])[0]
        for place, (row, target) in enumerate(zip(logits.double(), window[1:], strict=True)):
            nats.append(float(torch.logsumexp(row, 0) - row[target]))
            ranks.append(int((row > row[target]).sum()))
            of_position[place] += nats[-1]
    assert scores.first == pytest.approx(nats, abs=1e-5)
    assert scores.nats == pytest.approx(of_position, abs=1e-4)
    assert scores.tokens == len(nats)
    assert scores.likeliest == sum(rank == 0 for rank in ranks)
    assert scores.among_five == sum(rank < 5 for rank in ranks)


def test_every_character_but_the_first_is_scored_once_as_in_validation(
    checkpoint, tokens, arithmetic
):
    held_out = load_tokens(tokens, "val")
    loader = loader_of(held_out, checkpoint.model.config.sequence_length, arithmetic, 16)
    scores = score_tokens(checkpoint.model, loader, arithmetic)
    assert scores.tokens == len(held_out) - 1
    assert scores.loss == pytest.approx(evaluate(checkpoint.model, loader, arithmetic))
    assert scores.loss == pytest.approx(checkpoint.training["val_loss"])


@settings(max_examples=30)
@given(data=st.data(), windows=st.integers(1, 40), time=st.integers(1, 6))
def test_sums_do_not_depend_on_the_batches_they_come_in(data, windows, time):
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    nats = random.exponential(2.0, (windows, time))
    ranks = torch.from_numpy(random.integers(0, 9, (windows, time)))

    def added(cuts):
        scores = Scores(np.zeros(time), np.zeros(time, dtype=np.int64))
        for start, end in itertools.pairwise([0, *cuts, windows]):
            scores.add(nats[start:end], ranks[start:end])
        return scores

    whole = added([])
    parts = added(sorted(data.draw(st.lists(st.integers(0, windows), max_size=5))))
    assert parts.nats.tobytes() == whole.nats.tobytes()
    assert parts.loss == whole.loss == pytest.approx(nats.mean())
    assert (parts.likeliest, parts.among_five) == (whole.likeliest, whole.among_five)
    assert whole.likeliest == int((ranks == 0).sum())
    assert parts.first == whole.first == nats.reshape(-1).tolist()


def test_only_the_losses_of_the_first_passage_are_kept():
    scores = Scores(np.zeros(8), np.zeros(8, dtype=np.int64))
    for number in range(300):
        scores.add(np.full((2, 8), number), torch.zeros(2, 8))
    assert scores.tokens == 4800
    assert scores.first == [number for number in range(125) for _ in range(16)]


def test_dropout_is_off_while_scoring(checkpoint, tokens, arithmetic):
    loader = loader_of(load_tokens(tokens, "val")[:500], 32, arithmetic)
    first = score_tokens(checkpoint.model.train(), loader, arithmetic)
    second = score_tokens(checkpoint.model.eval(), loader, arithmetic)
    assert np.array_equal(first.nats, second.nats)
    assert first.first == second.first
