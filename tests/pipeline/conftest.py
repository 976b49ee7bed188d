"""A project whose pipeline ran, for all tests of a module, and a way to run commands in it."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.project import copy_made, run_in

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def project(made_project, tmp_path_factory) -> Path:
    """The module's own copy of the session's project, to be changed."""
    return copy_made(made_project, tmp_path_factory.mktemp("copy") / "project")


@pytest.fixture
def run(project) -> Run:
    """Run a command in the copy: `run("dvc", "status")`."""

    def command(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return run_in(project, *arguments, check=check)

    return command
