"""The sample corpus is what it says: original drama, written, not generated from templates."""

import lzma
import re
from collections import Counter

import pytest

from tests.conftest import ROOT

PLAYS = sorted((ROOT / "data/raw/sample").glob("*.txt"))


@pytest.fixture(scope="module")
def whole() -> str:
    """All plays, one after another."""
    return "".join(path.read_text(encoding="ascii") for path in PLAYS)


def test_there_are_several_plays_and_enough_text(whole):
    assert len(PLAYS) >= 4
    assert len(whole) >= 150_000


def test_no_passage_of_forty_characters_occurs_more_than_four_times(whole):
    counts = Counter(whole[start : start + 40] for start in range(len(whole) - 39))
    assert counts.most_common(1)[0][1] <= 4


def test_it_does_not_compress_like_generated_text(whole):
    packed = lzma.compress(whole.encode(), preset=9)
    assert len(packed) / len(whole) > 0.33


@pytest.mark.parametrize("path", PLAYS, ids=lambda path: path.stem)
def test_every_play_has_named_speakers(path):
    names = re.findall(r"^([A-Z][A-Z' -]+):$", path.read_text(encoding="ascii"), re.MULTILINE)
    assert len(names) >= 200
    assert len(set(names)) >= 8
