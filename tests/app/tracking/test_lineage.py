"""Where a run comes from: git, environment, experiment, fingerprint."""

import platform
import subprocess

import numpy as np
import pytest
import torch

from tinyllm.app.tracking.lineage import (
    cpu_name,
    environment_tags,
    experiment_tags,
    fingerprint,
    git_tags,
)
from tinyllm.app.tracking.patch import git_patch

PARAMS = {"model": {"d_model": 64}, "train": {"seed": 1}}


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


@pytest.fixture
def files(tmp_path):
    for name in ("train.bin", "val.bin", "loop.py", "model.py"):
        (tmp_path / name).write_text(f"contents of {name}")
    data = [tmp_path / "train.bin", tmp_path / "val.bin"]
    return data, [tmp_path / "loop.py", tmp_path / "model.py"]


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


def test_a_folder_below_the_root_has_the_tags_and_the_patch_of_the_repository(
    repository, monkeypatch
):
    (repository / "duke.txt").write_text("salt and sea\n")
    (repository / "new.py").write_text("new\n")
    patch = git_patch()
    tags = git_tags(patch)
    (repository / "sub").mkdir()
    monkeypatch.chdir(repository / "sub")
    assert git_patch() == patch != b""
    assert git_tags(patch) == tags


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


def test_a_fingerprint_is_the_same_for_the_same_things_in_any_order(files):
    data, code = files
    first = fingerprint(PARAMS, data, code)
    assert len(first) == 32
    assert set(first) <= set("0123456789abcdef")
    turned = dict(reversed(PARAMS.items()))
    assert fingerprint(turned, reversed(data), iter(reversed(code))) == first


@pytest.mark.parametrize("name", ["train.bin", "val.bin", "loop.py", "model.py"])
def test_a_fingerprint_changes_with_every_file(files, tmp_path, name):
    first = fingerprint(PARAMS, *files)
    (tmp_path / name).write_text("other contents")
    assert fingerprint(PARAMS, *files) != first


@pytest.mark.parametrize(
    "params",
    [
        {"model": {"d_model": 65}, "train": {"seed": 1}},
        {"model": {"d_model": "64"}, "train": {"seed": 1}},
        {"model": {"d_model": 64}, "train": {"seed": 1, "more": None}},
        {"model": {"d_model": 64}},
    ],
)
def test_a_fingerprint_changes_with_every_param(files, params):
    assert fingerprint(params, *files) != fingerprint(PARAMS, *files)


def test_a_fingerprint_changes_when_files_swap_their_contents(files, tmp_path):
    data, code = files
    first = fingerprint(PARAMS, data, code)
    train, val = (path.read_bytes() for path in data)
    data[0].write_bytes(val)
    data[1].write_bytes(train)
    assert fingerprint(PARAMS, data, code) != first


def test_a_fingerprint_tells_where_one_file_ends_and_the_next_begins(files):
    data, code = files
    fingerprints = set()
    for contents in (("ab", "c"), ("a", "bc"), ("abc", "")):
        for path, part in zip(data, contents, strict=True):
            path.write_text(part)
        fingerprints.add(fingerprint(PARAMS, data, code))
    assert len(fingerprints) == 3


def test_a_fingerprint_does_not_depend_on_the_folder(files, tmp_path):
    data, code = files
    first = fingerprint(PARAMS, data, code)
    (tmp_path / "moved").mkdir()
    moved = [path.rename(tmp_path / "moved" / path.name) for path in (*data, *code)]
    assert fingerprint(PARAMS, moved[:2], moved[2:]) == first
