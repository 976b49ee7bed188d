"""Which files are the corpus: each is taken or named."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyllm.base.errors import TinyLLMError
from tinyllm.corpus.find import matches, survey

NAMES = st.lists(st.sampled_from(["a", "b.txt", "c.TXT", "ab"]), min_size=1, max_size=4)


@pytest.mark.parametrize(
    ("name", "pattern", "found"),
    [
        ("a.txt", "*.txt", True),
        ("d/e/a.TXT", "*.txt", True),
        ("a.txt", "**/*.txt", True),
        ("d/e/a.txt", "d/**/*.txt", True),
        ("d/a.txt", "d/**/*.txt", True),
        ("x/d/a.txt", "d/*.txt", True),
        ("d/e/a.txt", "d/*.txt", False),
        ("a.txt", "d/*.txt", False),
        ("a.txt.csv", "*.txt", False),
        ("caf\u00e9.txt", "cafe\u0301.txt", True),
        ("[x].txt", "[[]x].txt", True),
        ("a.txt", "**", False),
    ],
)
def test_a_pattern_says_how_a_relative_path_ends(name, pattern, found):
    assert matches(name, pattern) is found


@given(NAMES, NAMES)
def test_a_pattern_of_plain_names_is_the_end_of_a_path(parts, wanted):
    ends = [part.lower() for part in parts][-len(wanted) :] == [name.lower() for name in wanted]
    assert matches("/".join(parts), "/".join(wanted)) is ends


def test_many_folders_and_stars_take_no_time():
    assert not matches("/".join("a" * 2000), "/".join(["**", "a"] * 200 + ["b"]))


def test_everything_else_is_named_with_its_reason(tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / "deep").mkdir()
    for name in ("a.txt", ".b.txt", ".git/c.txt", "deep/d.md"):
        (tmp_path / name).write_text("text", encoding="utf-8")
    (tmp_path / "empty.txt").touch()
    (tmp_path / "link.txt").symlink_to("a.txt")
    (tmp_path / "gone.txt").symlink_to("nothing")
    (tmp_path / "round").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.txt")
    found = survey(tmp_path, "*.txt")
    assert found.taken == [tmp_path / "a.txt"]
    assert {why: sorted(names) for why, names in found.left.items()} == {
        "hidden or backup": [".b.txt", ".git/"],
        "not *.txt": ["deep/d.md"],
        "empty": ["empty.txt"],
        "links to another of the files": ["link.txt"],
        "links to nothing": ["gone.txt"],
        "links to folders": ["round/"],
        "pipes": ["pipe.txt"],
    }
    assert found.describe().startswith("taken 1 file, left out 8: ")


def test_what_a_link_outside_names_is_taken(tmp_path):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "elsewhere.txt").write_text("text", encoding="utf-8")
    (tmp_path / "corpus/a.txt").symlink_to(tmp_path / "elsewhere.txt")
    assert survey(tmp_path / "corpus", "*.txt").taken == [tmp_path / "corpus/a.txt"]


@pytest.mark.parametrize("pattern", ["", "/a", "../*.txt", "a/../b", "**x", "a//b", "./a"])
def test_a_pattern_that_can_match_nothing_is_refused(pattern):
    with pytest.raises(TinyLLMError, match=r"prepare\.pattern is "):
        matches("a.txt", pattern)


def test_a_source_that_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TinyLLMError, match="is no file or folder"):
        survey(tmp_path / "pipe", "*.txt")
