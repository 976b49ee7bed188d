"""Copies of the project as it stands, reduced, each in a repository of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


def clean_environment() -> dict[str, str]:
    """The environment of a person at the prompt, with this Python first on the path."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_", "MKL_"))}
    for name in ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA"):
        kept.pop(name, None)
    kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    kept |= {"GIT_AUTHOR_NAME": "test", "GIT_AUTHOR_EMAIL": "test@example.org"}
    return kept | {"GIT_COMMITTER_NAME": "test", "GIT_COMMITTER_EMAIL": "test@example.org"}


def run_in(folder: Path, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder; what it printed is shown when it fails."""
    result = subprocess.run(
        command, cwd=folder, env=clean_environment(), capture_output=True, text=True, check=False
    )
    if check and result.returncode:
        pytest.fail(
            f"{' '.join(command)} exited {result.returncode}\n{result.stdout}{result.stderr}"
        )
    return result


def copy_project(target: Path) -> None:
    """Copy what git tracks or would track, with the reduced parameters, and commit it."""
    listed = run_in(ROOT, "git", "ls-files", "-co", "--exclude-standard").stdout.splitlines()
    for name in filter(lambda name: (ROOT / name).is_file(), listed):
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, place)
    shutil.copyfile(ROOT / "tests/pipeline/reduced.yaml", target / "params.yaml")
    run_in(target, "git", "init", "--quiet", "--initial-branch=main")
    run_in(target, "git", "add", "--all")
    run_in(target, "git", "commit", "--quiet", "--message", "the project as it stands")


def make_project(folder: Path) -> Path:
    """Copy the project, run its pipeline and commit what that wrote."""
    copy_project(folder)
    run_in(folder, "dvc", "repro")
    run_in(folder, "git", "add", "--all")
    run_in(folder, "git", "commit", "--quiet", "--message", "the pipeline ran")
    return folder


def copy_made(made: Path, target: Path) -> Path:
    """A copy of a project whose pipeline ran, with its repository, cache, journal and store."""
    return shutil.copytree(made, target, symlinks=True)
