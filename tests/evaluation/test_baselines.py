"""The n-gram model: proper probabilities, sensible losses, tiny inputs."""

import itertools
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyllm.evaluation import baselines
from tinyllm.evaluation.baselines import KneserNeyModel, highest_order
from tinyllm.tokens.shards import Tokens, load_tokens
from tinyllm.tokens.spread import Spread

VOCABULARY = 5
TOKENS = st.integers(0, VOCABULARY - 1)


def after(model, context):
    """Probability of each token of the vocabulary after a context."""
    return np.array(
        [model.probabilities(np.array([*context, token]))[-1] for token in range(model.vocab_size)]
    )


@given(
    text=st.lists(TOKENS, min_size=8, max_size=200),
    context=st.lists(TOKENS, min_size=1, max_size=9),
    order=st.integers(1, 6),
)
def test_probabilities_add_up_to_one_after_any_context(text, context, order):
    model = KneserNeyModel(np.array(text, dtype=np.uint8), VOCABULARY, order)
    assert after(model, context).sum() == pytest.approx(1.0, abs=1e-12)


@given(text=st.lists(TOKENS, min_size=8, max_size=200), order=st.integers(2, 6))
def test_probabilities_add_up_to_one_after_contexts_that_were_seen(text, order):
    model = KneserNeyModel(np.array(text, dtype=np.uint8), VOCABULARY, order)
    for start in range(len(text) - order + 1):
        seen = after(model, text[start : start + order - 1])
        assert seen.sum() == pytest.approx(1.0, abs=1e-12)
        assert (seen > 0).all()


@pytest.mark.parametrize("order", [1, 2, 5])
def test_probabilities_add_up_to_one_on_the_sample_text(tokens, order):
    train = load_tokens(tokens, "train")
    vocab_size = train.vocab_size
    model = KneserNeyModel(train, vocab_size, order)
    unseen = [0, vocab_size - 1, 0, vocab_size - 1]
    for context in (train[100:104].tolist(), train[-4:].tolist(), unseen):
        assert after(model, context).sum() == pytest.approx(1.0, abs=1e-12)


def test_an_unseen_context_falls_back_to_the_shorter_one():
    model = KneserNeyModel(np.array([0, 1, 2, 0, 1, 3, 0, 1, 2]), VOCABULARY, 3)
    # 4 was never seen, so only the 1 after it counts
    assert after(model, [4, 1]) == pytest.approx(after(model, [1]))
    assert after(model, [4, 1]) != pytest.approx(after(model, [0, 1]))


def test_a_bigram_model_by_hand():
    # 0 1 0 1 0 2: the bigrams 01 01 10 10 02, none seen three times, so every discount is 1/2;
    # 0 follows one distinct token, as do 1 and 2, so a unigram is (1 - 1/2) / 3 + 1/2 / 4
    model = KneserNeyModel(np.array([0, 1, 0, 1, 0, 2]), 4, 2)
    seen, unseen = 0.5 / 3 + 0.5 / 4, 0.5 / 4
    assert after(model, [1]) == pytest.approx(
        [1.5 / 2 + 0.5 / 2 * seen, 0.25 * seen, 0.25 * seen, 0.25 * unseen]
    )
    assert after(model, [0]) == pytest.approx(
        [seen / 3, 1.5 / 3 + seen / 3, 0.5 / 3 + seen / 3, unseen / 3]
    )
    assert after(model, [3]) == pytest.approx([seen, seen, seen, unseen])


def test_discounts_by_hand():
    # three tokens once, two twice, one three times, one four times, one never: y = 3/7
    text = np.array([0, 1, 2, 3, 3, 4, 4, 5, 5, 5, 6, 6, 6, 6])
    once, twice, more = 3 / 7, 19 / 14, 9 / 7
    unseen = (3 * once + 2 * twice + 2 * more) / 14 / 8
    counts = [1 - once] * 3 + [2 - twice] * 2 + [3 - more, 4 - more, 0]
    wanted = [count / 14 + unseen for count in counts]
    assert after(KneserNeyModel(text, 8, 1), [7]) == pytest.approx(wanted)


def test_missing_counts_of_counts_give_discounts_of_one_half():
    model = KneserNeyModel(np.array([0] * 5 + [1] * 2), 4, 1)
    unseen = (0.5 + 0.5) / 7 / 4
    wanted = [4.5 / 7 + unseen, 1.5 / 7 + unseen, unseen, unseen]
    assert after(model, [2]) == pytest.approx(wanted)


def test_probabilities_look_at_no_more_than_the_order_allows(tokens):
    train = load_tokens(tokens, "train")
    model = KneserNeyModel(train, train.vocab_size, 3)
    whole = model.probabilities(train[:50])
    assert whole.shape == (49,)
    assert model.probabilities(train[20:50])[1:] == pytest.approx(whole[21:])


def test_a_repetitive_text_costs_few_bits_and_a_random_one_all_of_them():
    repetitive = np.tile(np.arange(VOCABULARY), 200)
    assert KneserNeyModel(repetitive, VOCABULARY, 4).bits_per_token(repetitive) < 0.05
    random = np.random.default_rng(0).integers(0, 8, 20_000)
    assert KneserNeyModel(random[:10_000], 8, 1).bits_per_token(random[10_000:]) == pytest.approx(
        3.0, abs=0.01
    )


def test_longer_contexts_help_on_the_sample_text(tokens):
    train, held_out = load_tokens(tokens, "train"), load_tokens(tokens, "test")
    vocab_size = train.vocab_size
    bits = [
        KneserNeyModel(train, vocab_size, order).bits_per_token(held_out) for order in (1, 2, 5)
    ]
    assert bits[0] > bits[1] > bits[2] > 1
    assert bits[0] - bits[2] > 0.5


def test_bits_are_the_mean_of_the_losses():
    model = KneserNeyModel(np.array([0, 1, 2, 0, 1, 2, 0]), VOCABULARY, 2)
    text = np.array([0, 1, 2, 2, 4])
    losses = [-np.log2(after(model, text[:end])[text[end]]) for end in range(1, 5)]
    assert model.bits_per_token(text) == pytest.approx(np.mean(losses))


@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("length", [2, 3, 4])
def test_a_held_out_text_may_be_shorter_than_the_order(order, length):
    model = KneserNeyModel(np.tile(np.arange(VOCABULARY), 10), VOCABULARY, order)
    bits = model.bits_per_token(np.arange(length))
    assert 0 < bits < np.log2(VOCABULARY) + 0.1
    assert (bits < 1) == (order > 1)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_a_training_text_of_one_n_gram_is_enough(order):
    model = KneserNeyModel(np.zeros(order, dtype=np.uint8), VOCABULARY, order)
    assert after(model, [0]).sum() == pytest.approx(1.0)
    assert after(model, [0]).argmax() == 0


@pytest.mark.parametrize("order", [4, 5, 70])
@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_training_text_may_be_shorter_than_the_order(order, length):
    text = np.arange(length, dtype=np.uint8)
    model = KneserNeyModel(text, VOCABULARY, order)
    longest = KneserNeyModel(text, VOCABULARY, length)
    for context in ([0], [0, 1], [4, 4, 4, 4, 0]):
        assert after(model, context).sum() == pytest.approx(1.0, abs=1e-12)
        assert after(model, context) == pytest.approx(after(longest, context))
    held_out = np.array([0, 1, 2, 3, 4, 0], dtype=np.uint8)
    assert 0 < model.bits_per_token(held_out) < 10


def test_a_short_text_still_gives_statistics():
    model = KneserNeyModel(np.array([3, 1, 4, 2], dtype=np.uint8), VOCABULARY, 9)
    assert after(model, [3, 1, 4]).argmax() == 2
    assert after(model, [0, 0, 4]).argmax() == 2


@pytest.mark.parametrize("order", [0, -1])
@pytest.mark.parametrize("length", [1, 100])
def test_an_order_below_one_is_refused(order, length):
    with pytest.raises(ValueError, match="too low"):
        KneserNeyModel(np.zeros(length, dtype=np.int64), VOCABULARY, order)


@pytest.mark.parametrize(("vocab_size", "order"), [(2, 63), (62, 11), (60_000, 4)])
def test_an_order_whose_codes_do_not_fit_is_refused(vocab_size, order):
    with pytest.raises(ValueError, match="too high"):
        KneserNeyModel(np.zeros(100, dtype=np.int64), vocab_size, order)


def test_the_highest_order_that_fits_works():
    text = np.full(200, 61)
    text[::2] = 60
    assert KneserNeyModel(text, 62, 10).bits_per_token(text) < 0.1


@given(data=st.data(), order=st.integers(1, 6), most=st.integers(6, 300))
def test_counts_of_a_part_are_those_within_its_passages(data, order, most):
    text = np.array(data.draw(st.lists(TOKENS, min_size=6, max_size=300)), dtype=np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "_SHORTEST", 20)
        patch.setattr(baselines, "_BLOCK", 7)
        model = KneserNeyModel(text, VOCABULARY, order, most)
    passages = Spread.over(len(text), most, 20)
    assert model.counted == len(passages) <= max(most, 1)
    counts = Counter(
        tuple(text[start : start + model.order].tolist())
        for first, end in passages.ranges()
        for start in range(first, end - model.order + 1)
    )
    powers = VOCABULARY ** np.arange(model.order)[::-1]
    level = model._levels[-1]
    found = dict(zip(level._grams.tolist(), level._counts.tolist(), strict=True))
    assert found == {int(np.dot(gram, powers)): count for gram, count in counts.items()}


@given(data=st.data(), order=st.integers(1, 6))
def test_bits_are_the_same_in_blocks_of_any_size_and_in_ranges(data, order):
    texts = st.lists(TOKENS, min_size=8, max_size=200)
    model = KneserNeyModel(np.array(data.draw(texts), dtype=np.uint8), VOCABULARY, order)
    text = np.array(data.draw(texts), dtype=np.uint8)
    losses = -np.log2(model.probabilities(text))
    cuts = sorted(
        data.draw(st.lists(st.integers(1, len(text)), min_size=2, max_size=8, unique=True))
    )
    ranges = list(itertools.pairwise(cuts))[::2]
    wanted = np.concatenate([losses[first - 1 : end - 1] for first, end in ranges])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "_BLOCK", data.draw(st.integers(1, 9)))
        assert model.bits_per_token(text) == pytest.approx(losses.mean())
        shards = Tokens(np.split(text, [len(text) // 3]), VOCABULARY)
        assert model.bits_per_token(shards, ranges) == pytest.approx(wanted.mean())


def test_a_part_of_a_long_text_gives_nearly_the_figures_of_all_of_it(tokens):
    train = np.tile(load_tokens(tokens, "train")[:], 20)
    held_out = load_tokens(tokens, "test")
    whole, part = (KneserNeyModel(train, 64, 3, most) for most in (0, 160_000))
    assert part.counted < 160_000 < whole.counted == len(train)
    bits = [model.bits_per_token(held_out) for model in (whole, part)]
    assert bits[0] == pytest.approx(bits[1], abs=0.2)
    assert bits[0] != bits[1]


@given(vocab_size=st.integers(2, 2_000_000))
def test_the_highest_order_is_the_last_whose_codes_fit(vocab_size):
    order = highest_order(vocab_size)
    assert vocab_size**order < 2**63 <= vocab_size ** (order + 1)


@pytest.mark.parametrize(("alphabet", "order"), [(9_001, 4), (70_001, 3)])
def test_a_large_alphabet_takes_little_memory_for_each_counted_character(alphabet, order):
    text = np.random.default_rng(0).integers(0, alphabet, 1_000_000).astype(np.uint32)
    tracemalloc.start()
    try:
        model = KneserNeyModel(text, alphabet, highest_order(alphabet), 500_000)
        assert model.bits_per_token(text[:50_000]) > 0
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert model.order == order
    # of a text in which no n-gram comes twice
    assert peak < 110 * 500_000
