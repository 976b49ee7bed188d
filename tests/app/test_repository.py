"""A project's repository is found, or it is said what is wrong and which command helps."""

from pathlib import Path

import pytest

from tests.project import run_in
from tinyllm.app.repository import Repository, find_repository
from tinyllm.app.tracking.lineage import git
from tinyllm.base.errors import TinyLLMError


@pytest.fixture
def repository(tmp_path):
    (tmp_path / "models/ours").mkdir(parents=True)
    (tmp_path / "models/ours/file").touch()
    run_in(tmp_path, "git", "init", "--quiet")
    run_in(tmp_path, "git", "add", "--all")
    run_in(tmp_path, "git", "commit", "--quiet", "--message", "start")
    return tmp_path


def test_the_top_and_the_project_in_it_are_found(repository):
    commit = run_in(repository, "git", "rev-parse", "HEAD").stdout.strip()
    found = find_repository(repository / "models/ours")
    assert found == Repository(repository, Path("models/ours"), commit)
    assert find_repository(repository).project == Path()


def test_a_folder_in_no_repository_is_told_how_to_become_one(tmp_path):
    with pytest.raises(TinyLLMError, match="git init && git add"):
        find_repository(tmp_path)


def test_a_repository_without_a_commit_is_told_how_to_make_one(tmp_path):
    run_in(tmp_path, "git", "init", "--quiet")
    with pytest.raises(TinyLLMError, match=r"no commit yet.* git add"):
        find_repository(tmp_path)


def test_a_hook_does_not_decide_which_repository_is_meant(repository, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", "/elsewhere")
    monkeypatch.setenv("GIT_WORK_TREE", "/elsewhere")
    assert git("-C", str(repository), "rev-parse", "--show-toplevel") == str(repository)
    assert find_repository(repository).top == repository


def test_a_machine_without_git_is_told_to_get_it(repository, monkeypatch):
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(TinyLLMError, match="git cannot be run; install it"):
        find_repository(repository)
