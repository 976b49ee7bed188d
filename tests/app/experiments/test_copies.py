"""A copy of a project is what its folder holds, and making one changes nothing there."""

import os
from pathlib import Path

import pytest

from tests.app.experiments.tiny import make_tiny
from tests.project import run_in
from tinyllm.app.experiments.copies import collect, make_copy, take_snapshot
from tinyllm.base.errors import TinyLLMError

pytestmark = pytest.mark.medium


WEEKLY = [pytest.mark.slow, pytest.mark.exhaustive]


@pytest.fixture(params=["", pytest.param("models/small", marks=WEEKLY)], ids=["whole", "inside"])
def project(tmp_path, request) -> Path:
    return make_tiny(tmp_path / "repository", request.param)


def state(project: Path) -> str:
    told = [
        run_in(project, "git", *words).stdout for words in (("status", "-s"), ("stash", "list"))
    ]
    return "".join(told)


def test_a_copy_holds_what_was_not_committed_and_changes_nothing(project, tmp_path, monkeypatch):
    monkeypatch.chdir(project)
    (project / "text.txt").write_text("changed", encoding="utf-8")
    (project / "new.txt").write_text("new", encoding="utf-8")
    run_in(project, "git", "add", "new.txt")
    (project / "stage.py").unlink()
    (project / "private.txt").write_text("of nobody", encoding="utf-8")
    before = state(project)
    assert len(before.splitlines()) == 4
    copy = make_copy(take_snapshot(), tmp_path / "copy")
    assert state(project) == before
    assert (copy / "text.txt").read_text() == "changed"
    assert (copy / "new.txt").read_text() == "new"
    assert not (copy / "stage.py").exists()
    assert not (copy / "private.txt").exists()
    assert (copy / "params.yaml").is_file()


def test_a_file_that_was_only_touched_is_no_change(project, monkeypatch):
    monkeypatch.chdir(project)
    os.utime(project / "text.txt", (1, 1))
    snapshot = take_snapshot()
    assert snapshot.state == snapshot.commit


def test_a_copy_takes_the_place_of_an_earlier_one_at_the_state_of_the_snapshot(
    project, tmp_path, monkeypatch
):
    monkeypatch.chdir(project)
    (project / "text.txt").write_text("then", encoding="utf-8")
    snapshot = take_snapshot()
    (project / "text.txt").write_text("now", encoding="utf-8")
    copy = make_copy(snapshot, tmp_path / "copy")
    (copy / "left.txt").touch()
    copy = make_copy(snapshot, tmp_path / "copy")
    assert (copy / "text.txt").read_text() == "then"
    assert not (copy / "left.txt").exists()


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_copy_has_the_settings_and_the_cache_of_the_project(project, tmp_path, monkeypatch):
    monkeypatch.chdir(project)
    run_in(project, "git", "config", "user.name", "Ada")
    run_in(project, "git", "remote", "add", "origin", "https://example.org/x.git")
    run_in(project, "dvc", "config", "--local", "core.autostage", "true")
    run_in(project, "dvc", "config", "--local", "cache.dir", "elsewhere")
    copy = make_copy(take_snapshot(), tmp_path / "copy")
    assert run_in(copy, "git", "config", "user.name").stdout == "Ada\n"
    assert run_in(copy, "git", "remote", "-v").stdout.count("example.org") == 2
    assert run_in(copy, "dvc", "config", "core.autostage").stdout == "true\n"
    found = Path(run_in(copy, "dvc", "cache", "dir").stdout.strip())
    assert found.resolve() == project / "elsewhere"


def test_a_copy_never_writes_into_the_folder_that_the_settings_name(tmp_path, monkeypatch):
    project = make_tiny(tmp_path / "repository")
    run_in(project, "git", "config", "core.worktree", str(project))
    monkeypatch.chdir(project)
    snapshot = take_snapshot()
    (project / "text.txt").write_text("written since", encoding="utf-8")
    copy = make_copy(snapshot, tmp_path / "copy")
    assert (copy / "text.txt").read_text() == "committed"
    assert (project / "text.txt").read_text() == "written since"


@pytest.mark.parametrize("kind", ["worktree", "submodule"])
def test_the_project_may_be_a_submodule_or_a_worktree_of_a_bare_repository(
    kind, tmp_path, monkeypatch
):
    origin = make_tiny(tmp_path / "repository")
    project = tmp_path / "outer" / "project"
    project.parent.mkdir()
    if kind == "worktree":
        run_in(tmp_path, "git", "clone", "--quiet", "--bare", str(origin), "bare")
        run_in(tmp_path / "bare", "git", "worktree", "add", "--quiet", str(project))
    else:
        run_in(project.parent, "git", "init", "--quiet")
        anywhere = ("-c", "protocol.file.allow=always")
        add = ("submodule", "--quiet", "add", str(origin), "project")
        run_in(project.parent, "git", *anywhere, *add)
    monkeypatch.chdir(project)
    (project / "text.txt").write_text("changed", encoding="utf-8")
    copy = make_copy(take_snapshot(), project / ".tinyllm" / "copy")
    assert (copy / "text.txt").read_text() == "changed"
    assert run_in(copy, "git", "rev-parse", "--show-toplevel").stdout.strip() == str(copy)


def test_changes_that_git_cannot_save_are_refused(tmp_path, monkeypatch):
    project = make_tiny(tmp_path / "repository")
    (project / "new.txt").touch()
    run_in(project, "git", "add", "--intent-to-add", "new.txt")
    monkeypatch.chdir(project)
    with pytest.raises(TinyLLMError, match=r"cannot save the changes in .*; commit them\.$"):
        take_snapshot()


@pytest.mark.slow
@pytest.mark.exhaustive
def test_an_experiment_comes_back_with_its_files(project, tmp_path, monkeypatch):
    monkeypatch.chdir(project)
    snapshot = take_snapshot()
    copy = make_copy(snapshot, tmp_path / "copy")
    run_in(copy, "dvc", "exp", "run", "-n", "tried", "-S", "train.seconds=0.1")
    collect(snapshot, tmp_path / "copy", "tried")
    assert "tried" in run_in(project, "dvc", "exp", "list").stdout
    run_in(project, "dvc", "exp", "apply", "tried")
    assert (project / "out.txt").read_text() == "committed"
    with pytest.raises(TinyLLMError, match="git failed in"):
        collect(snapshot, tmp_path / "copy", "another")


def test_what_git_does_not_track_cannot_be_copied(project, monkeypatch):
    monkeypatch.chdir(project)
    run_in(project, "git", "rm", "--quiet", "--cached", "params.yaml")
    run_in(project, "git", "commit", "--quiet", "--amend", "--no-edit")
    with pytest.raises(TinyLLMError, match=r"does not track params\.yaml.*git add params\.yaml"):
        take_snapshot()
