"""Runs the pipeline again in a clean clone that shares nothing with this working tree."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tinyllm.app.tracking.lineage import git
from tinyllm.base.errors import TinyLLMError

# variables that would tie the rebuilt pipeline to the original's experiment or store
_TIES = ("DVC_", "MLFLOW_", "GIT_")


@contextlib.contextmanager
def clean_clone(root: Path, commit: str, patch: bytes) -> Iterator[Path]:
    """Yield a temporary clone of the repository at a commit, with a patch applied.

    Raises:
        TinyLLMError: the commit is not in this repository, or the patch does not apply.
    """
    with tempfile.TemporaryDirectory(prefix="tinyllm-") as folder:
        clone = Path(folder) / "clone"
        _call(["git", "clone", "--quiet", "--no-checkout", str(root), str(clone)], root)
        if not git("-C", str(root), "cat-file", "-t", commit):
            raise TinyLLMError(
                f"Commit {commit} is not in this repository; fetch the branch that it is on."
            )
        # a clone lacks commits that are no longer on a branch
        _call(["git", "fetch", "--quiet", str(root), commit], clone)
        _call(["git", "checkout", "--quiet", "--detach", commit], clone)
        if patch:
            place = Path(folder) / "patch"
            place.write_bytes(patch)
            _call(["git", "apply", "--whitespace=nowarn", str(place)], clone)
        yield clone


def copy_sources(root: Path, clone: Path) -> None:
    """Copy raw data that is not in git.

    Raises:
        TinyLLMError: such data is not in this working tree either.
    """
    source = Path(_params_source(clone))
    if source.is_absolute() or (clone / source).exists():
        return
    if not (root / source).exists():
        raise TinyLLMError(
            f"The raw text {source} is neither in the commit nor in this working tree; put it "
            f"there and try again."
        )
    (clone / source).parent.mkdir(parents=True, exist_ok=True)
    if (root / source).is_dir():
        shutil.copytree(root / source, clone / source)
    else:
        shutil.copyfile(root / source, clone / source)


def run_pipeline(clone: Path) -> None:
    """Run every stage in the clone, from scratch.

    Raises:
        TinyLLMError: a stage failed; the end of what it printed is in the message.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith(_TIES)}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"
    _call(["dvc", "repro", "--force", "--no-run-cache"], clone, environment)


def read_lock(folder: Path) -> dict[str, Any]:
    """The stages of a `dvc.lock`.

    Raises:
        TinyLLMError: there is none.
    """
    path = folder / "dvc.lock"
    if not path.is_file():
        raise TinyLLMError(f"There is no {path}; run dvc repro first.")
    return dict(yaml.safe_load(path.read_text(encoding="utf-8"))["stages"])


def _params_source(folder: Path) -> str:
    from tinyllm.app.params import load_params

    return str(load_params(folder / "params.yaml")["prepare"].model_dump()["source"])


def _call(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> None:
    result = subprocess.run(  # noqa: S603 - fixed commands
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if result.returncode:
        last = " | ".join((result.stdout + result.stderr).strip().splitlines()[-3:])
        raise TinyLLMError(f"'{' '.join(command[:3])}' failed in the clean clone: {last}")
