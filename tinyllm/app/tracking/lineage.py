"""Where a run comes from: commit, uncommitted changes, code, environment, experiment."""

import functools
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from tinyllm.app.logger import get_logger
from tinyllm.app.repository import find_repository
from tinyllm.base.environment import child_environment
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.files import repository_root

_log = get_logger(__name__)
# shared by runs that differ only in the seed
CONFIGURATION_TAG = "tinyllm.configuration"
# changed files that the patch leaves out
LEFT_OUT_TAG = "git.left_out"
# environment variables that link runs to their sweep
SWEEP_VARIABLE, PARENT_VARIABLE = "TINYLLM_SWEEP", "TINYLLM_PARENT_RUN"
# MLflow's tag of a child, and ours of a parent
CHILD_TAG, PARENT_TAG = "mlflow.parentRunId", "tinyllm.parent"
_PACKAGES = ("torch", "numpy", "safetensors", "dvc", "mlflow")


def git_tags(patch: bytes) -> dict[str, str]:
    """Commit, branch and whether there are uncommitted changes; empty outside a repository."""
    commit = git("rev-parse", "HEAD")
    if not commit:
        return {}
    return {
        "git.commit": commit,
        "git.branch": _branch(),
        "git.uncommitted": "yes" if patch else "no",
        "mlflow.source.git.commit": commit,
    }


def _branch() -> str:
    """The current branch; in a DVC experiment, one that it started from."""
    name = git("rev-parse", "--abbrev-ref", "HEAD")
    if name != "HEAD":
        return name
    root = str(repository_root())
    commit = os.environ.get("DVC_EXP_BASELINE_REV") or "HEAD"
    heads = git(
        "-C", root, "for-each-ref", "--points-at", commit, "--format=%(refname:short)", "refs/heads"
    )
    return heads.splitlines()[0] if heads else name


def environment_tags() -> dict[str, str]:
    """Versions of Python and packages, and the CPU."""
    versions = {f"version.{name}": metadata.version(name) for name in _PACKAGES}
    return {**versions, "version.python": platform.python_version(), "cpu": cpu_name()}


def experiment_tags() -> dict[str, str]:
    """The DVC experiment and the sweep that this process runs in, if any."""
    names = {
        "dvc.experiment": "DVC_EXP_NAME",
        "dvc.baseline": "DVC_EXP_BASELINE_REV",
        "sweep": SWEEP_VARIABLE,
        CHILD_TAG: PARENT_VARIABLE,
    }
    return {tag: os.environ[name] for tag, name in names.items() if os.environ.get(name)}


def cpu_name() -> str:
    """The CPU's model name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def git(*arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """The stripped output of a git command; empty if it fails."""
    return run_git(*arguments, environment=environment).decode("utf-8", "replace").strip()


def run_git(
    *arguments: str, environment: Mapping[str, str] | None = None, given: bytes | None = None
) -> bytes:
    """The output of git with `given` as standard input; empty if it fails.

    If git works in no way here, a warning says so, once.
    """
    try:
        return subprocess.run(  # noqa: S603 - fixed arguments
            ["git", *arguments],  # noqa: S607 - whichever git the user has
            input=given,
            stdin=None if given is not None else subprocess.DEVNULL,
            capture_output=True,
            check=True,
            env=child_environment(**(environment or {})),
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        _warn_once()
        return b""


@functools.cache
def _warn_once() -> None:
    try:
        find_repository(Path.cwd())
    except TinyLLMError as error:
        _log.warning("What is recorded names no commit: %s", error)
