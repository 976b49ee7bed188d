"""A stage runs in the Python that DVC runs in, also where its environment is not activated."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

PYTHON = """#!/bin/sh
if [ -n "$1" ] && [ -f "$1" ]; then sh "$2" train; echo; else echo "$0 $*"; fi
"""
# what macOS prints, where a virtual environment's Python has the path of the framework's
PS = """#!/bin/sh
case "$*" in
    "-o args= -p "*) echo "/Library/Python.app/Contents/MacOS/Python $DVC repro" ;;
    "-o ppid= -p "*) echo "  1" ;;
esac
"""


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def environment(tmp_path):
    """A virtual environment at a path with a space and a star, and another Python in PATH."""
    programs = tmp_path / "my *project" / ".venv" / "bin"
    for name in ("tinyllm", "dvc"):
        program(programs / name, "")
    program(programs / "python", PYTHON)
    program(tmp_path / "bin" / "python", "#!/bin/sh\necho another $*\n")
    return programs


def search_path(folder: Path) -> dict[str, str]:
    return {**os.environ, "PATH": f"{folder}:/usr/bin:/bin"}


def test_the_python_of_the_program_that_started_the_stage_is_found(environment, tmp_path):
    result = subprocess.run(
        [environment / "python", environment / "dvc", ROOT / "stages/run"],
        env=search_path(tmp_path / "bin"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split("\n")[0] == f"{environment / 'python'} -m stages.train"


def test_without_linux_files_about_processes_it_is_found_too(tmp_path):
    programs = tmp_path / "project" / ".venv" / "bin"
    for name in ("tinyllm", "dvc"):
        program(programs / name, "")
    program(programs / "python", PYTHON)
    program(tmp_path / "bin" / "python", "#!/bin/sh\necho another $*\n")
    program(tmp_path / "bin" / "ps", PS)
    script = (ROOT / "stages/run").read_text(encoding="utf-8").replace("/proc", "/nowhere")
    result = subprocess.run(
        ["sh", program(tmp_path / "run", script), "train"],
        env={**search_path(tmp_path / "bin"), "DVC": str(programs / "dvc")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == f"{programs / 'python'} -m stages.train\n"
    assert result.stderr == ""


def test_the_activated_environment_comes_first(environment):
    result = subprocess.run(
        ["sh", ROOT / "stages/run", "train"],
        env=search_path(environment),
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == f"{environment / 'python'} -m stages.train\n"
