"""Where a run comes from: git, environment, experiment."""

import platform
import subprocess

import numpy as np
import pytest
import torch

from tinyllm.app.tracking.lineage import (
    cpu_name,
    environment_tags,
    experiment_tags,
    git_tags,
)
from tinyllm.app.tracking.patch import git_patch


def git(*arguments):
    names = ("-c", "user.name=Duke", "-c", "user.email=duke@example.org")
    command = ["git", *names, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with one commit on the branch `plays`, as current folder."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    git("init", "-q", "-b", "plays")
    (tmp_path / "duke.txt").write_text("salt\n")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    return tmp_path


def test_tags_of_a_clean_repository(repository):
    commit = git("rev-parse", "HEAD")
    assert git_patch() == b""
    assert git_tags(b"") == {
        "git.commit": commit,
        "git.branch": "plays",
        "git.uncommitted": "no",
        "mlflow.source.git.commit": commit,
    }


def test_a_patch_is_told(repository):
    assert git_tags(b"diff")["git.uncommitted"] == "yes"


def test_a_project_below_the_root_has_its_own_changes_only(repository, monkeypatch):
    (repository / "project").mkdir()
    (repository / "project" / "poem.txt").write_text("sea\n")
    git("add", ".")
    git("commit", "-q", "-m", "a project in a larger repository")
    (repository / "duke.txt").write_text("salt and sea\n")
    (repository / "new.py").write_text("new\n")
    monkeypatch.chdir(repository / "project")
    assert (git_patch(), git_tags(b"")["git.uncommitted"]) == (b"", "no")
    (repository / "project" / "poem.txt").write_text("the sea\n")
    (repository / "project" / "own.py").write_text("own\n")
    patch = git_patch()
    assert b"project/poem.txt" in patch
    assert b"project/own.py" in patch
    assert b"duke.txt" not in patch
    assert b"new.py" not in patch
    monkeypatch.chdir(repository)
    git("checkout", "-q", ".")
    (repository / "project" / "own.py").unlink()
    (repository / "kept.patch").write_bytes(patch)
    git("apply", "kept.patch")
    assert (repository / "project" / "poem.txt").read_text() == "the sea\n"


def test_without_a_repository_or_a_commit_there_is_nothing_to_tell(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    assert (git_tags(git_patch()), git_patch()) == ({}, b"")
    git("init", "-q")
    assert (git_tags(git_patch()), git_patch()) == ({}, b"")


def test_without_git_there_is_nothing_to_tell(repository, monkeypatch):
    monkeypatch.setenv("PATH", str(repository))
    assert (git_tags(git_patch()), git_patch()) == ({}, b"")


def test_the_environment_is_told(monkeypatch):
    tags = environment_tags()
    assert tags["version.torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert tags["version.numpy"] == np.__version__
    assert tags["version.python"] == platform.python_version()
    assert tags["cpu"] == cpu_name() != ""
    assert all(isinstance(value, str) for value in tags.values())


def test_the_experiment_is_told_where_there_is_one(monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "wooly-ides")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "abc123")
    assert experiment_tags() == {"dvc.experiment": "wooly-ides", "dvc.baseline": "abc123"}
    monkeypatch.delenv("DVC_EXP_NAME")
    assert experiment_tags() == {"dvc.baseline": "abc123"}
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "")
    assert experiment_tags() == {}
