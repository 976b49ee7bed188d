"""Environments of other programs."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.conftest import ROOT

PROGRAMS = Path(__file__).with_name("programs")
UV = str(Path(sys.executable).with_name("uv"))
# of torch the build without CUDA, as in our own environment
TORCH = ROOT / "requirements/torch-cpu.txt"
SETTINGS = {
    # no program may ask the network for a model
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "CUDA_VISIBLE_DEVICES": "",
    # threads that wait for each other are very slow when tests run in parallel
    "OMP_NUM_THREADS": "1",
}


def make_python(folder: Path, *packages: str, torch: bool = True) -> str:
    """Make a virtual environment with some packages, and return its interpreter."""
    python = str(folder / "bin/python")
    run(UV, "venv", "--quiet", "--python", sys.executable, str(folder))
    if torch:
        # as the Makefile does: pip finds the wheel wherever the user's settings say
        pip = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            python,
            "install",
            "--quiet",
            "--no-compile",
        ]
        run(*pip, "--no-deps", "--requirement", str(TORCH))
    run(UV, "pip", "install", "--quiet", "--python", python, *packages)
    return python


def make_node(folder: Path, *packages: str) -> None:
    """Make a folder with some packages of npm; they build and fetch nothing then."""
    folder.mkdir(exist_ok=True)
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    quiet = ("--no-fund", "--no-audit", "--ignore-scripts", "--loglevel=error")
    run("npm", "install", *quiet, *packages, cwd=folder)


def ask(interpreter: str, program: str, *arguments: object, cwd: Path) -> Any:
    """Run one of `programs/` and return what its last line says in JSON."""
    words = [interpreter, str(PROGRAMS / program), *map(str, arguments)]
    return json.loads(run(*words, cwd=cwd).splitlines()[-1])


def run(*command: str, cwd: Path | None = None) -> str:
    """Run a command and return what it printed; show that if it fails."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    result = subprocess.run(
        command, cwd=cwd, env=kept | SETTINGS, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}\n{result.stderr[-4000:]}"
    return result.stdout
