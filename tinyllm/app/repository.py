"""The git repository of a project, and in words what is wrong with it.

    python -m tinyllm.app.repository

says so before a run, whose stages DVC would not start.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tinyllm.base.environment import child_environment
from tinyllm.base.errors import TinyLLMError

_FIRST_COMMIT = "git add --all && git commit --message 'start'"


@dataclass(frozen=True)
class Repository:
    """A repository, its current commit, and the project's folder in it ('.' if it is the top)."""

    top: Path
    project: Path
    commit: str


def find_repository(folder: Path) -> Repository:
    """The repository that a folder is in.

    Raises:
        TinyLLMError: git is missing, refuses the repository, or there is none or no commit; the
            message names the command that helps.
    """
    top = _ask(folder, "rev-parse", "--show-toplevel")
    project = _ask(folder, "rev-parse", "--show-prefix")
    commit = _ask(folder, "rev-parse", "--verify", "HEAD^{commit}")
    return Repository(Path(top), Path(project), commit)


def _ask(folder: Path, *arguments: str) -> str:
    try:
        result = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", *arguments],  # noqa: S607 - whichever git the user has
            cwd=folder,
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
        )
    except OSError:
        raise TinyLLMError(
            "git cannot be run; install it (on Debian and Ubuntu: apt install git)."
        ) from None
    if result.returncode:
        raise TinyLLMError(_explain(folder, result.stderr))
    return result.stdout.removesuffix("\n")


def _explain(folder: Path, said: str) -> str:
    where = folder.resolve()
    if "dubious ownership" in said:
        return (
            f"git does not trust {where}, since another user owns it; if you do: git config "
            f"--global --add safe.directory {_named(said) or where}"
        )
    if "not a git repository" in said:
        return (
            f"{where} is in no git repository, which keeps what a model was made from; make one "
            f"with: git init && {_FIRST_COMMIT}"
        )
    if "Needed a single revision" in said:
        return f"The repository of {where} has no commit yet; make one with: {_FIRST_COMMIT}"
    last = said.strip().splitlines()[-1:] or ["it does not say why"]
    return f"git cannot read the repository of {where}: {last[0].removeprefix('fatal: ')}."


def _named(said: str) -> str:
    """The folder that git itself proposes to trust."""
    lines = [line for line in said.splitlines() if "safe.directory" in line]
    return lines[0].partition("safe.directory")[2].strip() if lines else ""


if __name__ == "__main__":
    try:
        find_repository(Path.cwd())
    except TinyLLMError as error:
        sys.exit(f"Error: {error}")
