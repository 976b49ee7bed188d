"""A copy must hold the text that the project does, or there is none."""

from pathlib import Path

import pytest

from tests.app.experiments.tiny import make_tiny
from tests.project import run_in
from tinyllm.app.experiments.copies import take_snapshot
from tinyllm.app.experiments.text import check_text
from tinyllm.base.errors import TinyLLMError
from tinyllm.corpus.config import PrepareConfig

pytestmark = pytest.mark.medium


WEEKLY = [pytest.mark.slow, pytest.mark.exhaustive]


@pytest.fixture(params=["", pytest.param("models/small", marks=WEEKLY)], ids=["whole", "inside"])
def project(tmp_path, request, monkeypatch) -> Path:
    found = make_tiny(tmp_path / "repository", request.param)
    (found / "texts").mkdir()
    (found / "texts" / " Война [и] мир.txt").write_text("Eh bien", encoding="utf-8")
    run_in(found, "git", "add", "texts")
    monkeypatch.chdir(found)
    return found


def check(source: str) -> None:
    check_text(PrepareConfig(source=source), take_snapshot())


def test_what_git_tracks_or_what_lies_elsewhere_is_there(project, tmp_path):
    check("texts")
    check("texts/ Война [и] мир.txt")
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    check(str(tmp_path / "mine.txt"))


def test_a_file_that_git_does_not_track_is_named(project):
    (project / "texts" / "new.txt").write_text("new", encoding="utf-8")
    with pytest.raises(TinyLLMError, match=r"does not track texts/new\.txt.*git add it"):
        check("texts")


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("kept", ["data", "data/a.txt"])
def test_what_dvc_keeps_is_there_unless_it_was_changed(project, kept):
    (project / "data").mkdir()
    (project / "data" / "a.txt").write_text("as it was", encoding="utf-8")
    run_in(project, "dvc", "add", "--quiet", kept)
    check("data")
    (project / "data" / "a.txt").write_text("changed", encoding="utf-8")
    with pytest.raises(TinyLLMError, match=f"differs from what DVC keeps.*: dvc add {kept}$"):
        check("data")
