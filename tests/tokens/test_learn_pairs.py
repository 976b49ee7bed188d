"""Learning byte pairs: the same for every division and number of threads, from a bounded part."""

import json
import logging
import os
import random
import re
import subprocess
import sys

import pytest

from tests.tokenizers import DIFFICULT
from tinyllm.tokens import learn_pairs as module
from tinyllm.tokens.learn_pairs import learn_pairs
from tinyllm.tokens.pieces import PIECE, pieces

PROGRAM = """
import json, sys
from tinyllm.tokens.learn_pairs import learn_pairs
text = sys.stdin.buffer.read().decode()
print(json.dumps(learn_pairs([text], 700)))
"""


def test_the_most_frequent_pairs_are_joined_first():
    merges = learn_pairs(["the the the then"], 300)
    assert merges[:3] == [("h", "e"), ("t", "he"), ("\u0120", "the")]


def test_a_pair_that_occurs_once_is_not_learned():
    assert learn_pairs(["abcdefg"], 300) == []


def test_no_more_tokens_are_learned_than_asked_for(text):
    assert len(learn_pairs([text], 300)) == 44


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_how_the_text_is_divided_is_all_one(text, size):
    text = "".join((text[:5000], *DIFFICULT))
    parts = (text[first : first + size] for first in range(0, len(text), size))
    assert learn_pairs(parts, 500) == learn_pairs([text], 500)


@pytest.mark.parametrize(
    "environment",
    [{"RAYON_NUM_THREADS": "1"}, {"RAYON_NUM_THREADS": "5"}, {"TOKENIZERS_PARALLELISM": "false"}],
    ids=str,
)
def test_other_processes_and_threads_learn_the_same(text, environment):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=text.encode(),
        env=os.environ | environment,
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout) == [list(pair) for pair in learn_pairs([text], 700)]


def test_halves_of_surrogate_pairs_are_no_error():
    assert learn_pairs(["\ud800a\ud800a\ud800a"], 300)


def numbered(count):
    """As many pieces, each of words of its own."""
    return "".join(f" piece{number:04}x" * (PIECE // 11 + 1) for number in range(count))


def test_of_a_long_text_an_even_part_is_read(caplog):
    text = numbered(16)
    sample = module._Sample(5 * PIECE + 100)
    for piece in pieces([text]):
        sample.add(piece)
    with caplog.at_level(logging.INFO):
        sample.tell()
    read = list(sample.take())
    # a piece begins with the end of the one before
    assert [re.findall("piece....x", piece)[-1] for piece in read] == [
        f"piece{number:04}x" for number in (0, 4, 8, 12)
    ]
    (record,) = caplog.records
    assert record.getMessage() == (
        f"Byte pairs are learned from {sum(map(len, read)):,} of {len(text):,} characters, "
        f"evenly spread."
    )


def test_nothing_is_said_of_a_text_that_is_read_whole(caplog):
    with caplog.at_level(logging.INFO):
        learn_pairs(["to be or not to be"], 300)
    assert caplog.records == []


def test_of_words_that_are_never_the_same_a_part_is_read(monkeypatch, caplog):
    draw = random.Random(1)
    text = "".join(draw.choices("abcdefgh ", k=8 * PIECE))
    monkeypatch.setattr(module, "_MOST_WORD_BYTES", 2 * PIECE)
    with caplog.at_level(logging.INFO):
        learn_pairs([text], 300)
    (record,) = caplog.records
    read, whole = (int(word.replace(",", "")) for word in record.getMessage().split()[5:8:2])
    assert whole == len(text)
    assert PIECE <= read <= 4 * PIECE
