"""Lists in some order are found; texts are not taken for lists."""

import random
from itertools import product

import pytest

from tests.corpus.oracle import deal_lines, split_texts
from tinyllm.corpus.order import drifts, is_in_order
from tinyllm.corpus.read import load_text

WORDS = ["".join(letters) for letters in product("abcdefghijklmnopqrstuvwxyz", repeat=2)]
RISING = "".join(f"{word}\n" for word in WORDS)


@pytest.mark.parametrize(
    "text", [RISING, RISING[::-1], RISING.upper(), RISING.replace("\n", "\n\n")]
)
def test_a_list_in_order_is_found(text):
    assert is_in_order([text])


def test_two_lists_are_in_order_each():
    assert is_in_order([RISING, RISING])


def test_a_shuffled_list_and_a_short_one_are_not():
    words = WORDS.copy()
    random.Random(1).shuffle(words)
    assert not is_in_order(["\n".join(words)])
    assert not is_in_order([RISING[:90]])


def test_a_dictionary_drifts_although_its_lines_are_not_sorted():
    parts = split_texts(["".join(f"{word}\n  see {word}\n" for word in WORDS)], 0.1, 0.2)
    assert not is_in_order([*parts.values()])
    assert drifts(parts["train"], parts["test"])


def test_a_text_is_no_list():
    text = load_text("data/raw/sample")
    parts = split_texts([text], 0.1, 0.1)
    assert not is_in_order([text])
    assert not drifts(parts["train"], parts["test"])


@pytest.mark.parametrize(("val", "test"), [(0.1, 0.1), (0.3, 0.2), (0.2, 0)])
def test_dealt_lines_are_all_there_in_their_shares_and_do_not_drift(val, test):
    parts = deal_lines([RISING, "last line without an end"], val, test)
    lines = sorted("".join(f"{part}\n" for part in parts.values()).split())
    assert lines == sorted(f"{RISING}last line without an end".split())
    assert len(parts["val"]) == pytest.approx(len(RISING) * val, rel=0.05)
    assert len(parts["test"]) == pytest.approx(len(RISING) * test, rel=0.05)
    assert not drifts(parts["train"], parts["val"] + parts["test"])
