"""Warnings of a corpus: few, however many files it has."""

import pytest

from tinyllm.corpus.config import PrepareConfig
from tinyllm.corpus.prepare import prepare_corpus


@pytest.mark.parametrize(("pairs", "last"), [(3, None), (4, 1), (40, 37)])
def test_of_many_groups_of_equal_files_some_are_named(tmp_path, caplog, pairs, last):
    (tmp_path / "raw").mkdir()
    for number in range(pairs):
        for copy in "ab":
            (tmp_path / f"raw/{number:02}{copy}.txt").write_text(f"Text {number * 7 % 11}.{number}")
    prepare_corpus(PrepareConfig(source=str(tmp_path / "raw"), split_by="corpus"), tmp_path / "out")
    said = [r.getMessage() for r in caplog.records if r.name == "tinyllm.corpus.warn"]
    expected = [f"These files hold the same text: 0{n}a.txt, 0{n}b.txt." for n in range(3)]
    more = [f"There are more such groups of files: {last}."] if last else []
    assert said == expected + more
