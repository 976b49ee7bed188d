"""One project for all tests of a module, and a way to run commands in it."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.project import make_project, run_in

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """The copy, after one `dvc repro`, committed."""
    return make_project(tmp_path_factory.mktemp("project"))


@pytest.fixture
def run(project) -> Run:
    """Run a command in the copy: `run("dvc", "status")`."""

    def command(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return run_in(project, *arguments, check=check)

    return command
