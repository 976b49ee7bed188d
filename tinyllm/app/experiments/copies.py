"""Copies of the project that trials run in, so that none disturbs another or the user.

A copy is a clone that borrows git's objects and DVC's cache from the project, at a commit with the
changes that were not committed. What it brings forth returns as a ref: a DVC experiment.
"""

import configparser
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tinyllm.app.repository import find_repository
from tinyllm.base.environment import child_environment
from tinyllm.base.errors import TinyLLMError

# `git stash create` makes commits, which need somebody's name
_SOMEBODY = ("-c", "user.name=tinyllm", "-c", "user.email=tinyllm@localhost")
_NO_HOOKS = ("-c", "core.hooksPath=/dev/null")
# exit code of `git config --unset-all`
_NOT_SET = 5


@dataclass(frozen=True)
class Snapshot:
    """A project as it stands; all paths are absolute.

    Attributes:
        top: of the repository.
        project: the project's folder in it.
        commit: the current one.
        state: a commit of what is in the folder, other than what git does not track.
        cache: of DVC.
    """

    top: str
    project: str
    commit: str
    state: str
    cache: str

    @property
    def root(self) -> str:
        """The project's folder."""
        return str(Path(self.top) / self.project)

    def ref(self, name: str) -> str:
        """The ref of an experiment on this commit."""
        return f"refs/exps/{self.commit[:2]}/{self.commit[2:]}/{name}"


def take_snapshot() -> Snapshot:
    """The project in the current folder, of which nothing is changed.

    Raises:
        TinyLLMError: there is no repository, it has no commit, or git or DVC cannot read it.
    """
    found = find_repository(Path.cwd())
    state = _changes(found.top) or found.commit
    for name in ("dvc.yaml", "params.yaml"):
        if not git_in(found.top, "ls-tree", state, "--", str(found.project / name)):
            raise TinyLLMError(
                f"Git does not track {name}, and experiments run in copies of what it tracks; "
                f"git add {name}"
            )
    cache = _find_cache(found.top / found.project)
    return Snapshot(str(found.top), str(found.project), found.commit, state, cache)


def make_copy(snapshot: Snapshot, folder: Path) -> Path:
    """Make a copy at `folder`, instead of an earlier one; return the project's folder in it.

    Raises:
        TinyLLMError: git cannot make it.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    top = Path(snapshot.top)
    quick = ("clone", "--quiet", "--shared", "--no-checkout")
    git_in(top, *_NO_HOOKS, *quick, str(top), str(folder))
    common = Path(git_in(top, "rev-parse", "--path-format=absolute", "--git-common-dir"))
    _share_settings(common / "config", folder)
    git_in(folder, *_NO_HOOKS, "checkout", "--quiet", "--detach", snapshot.commit)
    git_in(folder, "restore", "--source", snapshot.state, "--staged", "--worktree", ":/")
    project = folder / snapshot.project
    _share_cache(Path(snapshot.root), project, snapshot.cache)
    return project


def collect(snapshot: Snapshot, folder: Path, name: str) -> None:
    """Bring an experiment from the copy at `folder` into the project.

    Raises:
        TinyLLMError: there is none, or another one has its name.
    """
    ref = snapshot.ref(name)
    quiet = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head")
    git_in(Path(snapshot.top), "-c", "gc.auto=0", *quiet, str(folder), f"{ref}:{ref}")


def _changes(top: Path) -> str:
    """A commit of what was not committed; empty if there is nothing.

    Raises:
        TinyLLMError: git cannot make it.
    """
    result = _run(["git", *_SOMEBODY, "stash", "create"], top)
    # without a word if nothing but the times of files differs
    if result.returncode and result.stderr.strip():
        raise TinyLLMError(
            f"git cannot save the changes in {top} ({_last_line(result.stderr)}); commit them."
        )
    return result.stdout.strip()


def _share_settings(given: Path, folder: Path) -> None:
    """Take names, filters and remotes from the project, but not where its files are.

    Raises:
        TinyLLMError: git cannot change the settings.
    """
    own = folder / ".git" / "config"
    shutil.copyfile(given, own)
    # of a submodule, or of a bare repository with worktrees; git in the copy would obey them
    for key in ("core.bare", "core.worktree"):
        command = ["git", "config", "--file", str(own), "--unset-all", key]
        result = _run(command, folder.parent)
        if result.returncode not in (0, _NOT_SET):
            raise TinyLLMError(f"git cannot change {own}: {_last_line(result.stderr)}")


def _share_cache(root: Path, project: Path, cache: str) -> None:
    """Let DVC in the copy use the project's settings and cache."""
    own = configparser.RawConfigParser()
    own.read(root / ".dvc" / "config.local", encoding="utf-8")
    if not own.has_section("cache"):
        own.add_section("cache")
    own.set("cache", "dir", cache)
    with (project / ".dvc" / "config.local").open("w", encoding="utf-8") as file:
        own.write(file)


def git_in(folder: Path, *arguments: str) -> str:
    """What a git command says.

    Raises:
        TinyLLMError: it fails.
    """
    result = _run(["git", *arguments], folder)
    if result.returncode:
        raise TinyLLMError(f"git failed in {folder}: {_last_line(result.stderr)}")
    return result.stdout.removesuffix("\n")


def _find_cache(root: Path) -> str:
    """The folder of DVC's cache.

    Raises:
        TinyLLMError: DVC does not know it.
    """
    result = _run([sys.executable, "-m", "dvc", "cache", "dir"], root)
    if result.returncode:
        raise TinyLLMError(f"DVC cannot read the project at {root}: {_last_line(result.stderr)}")
    return str((root / result.stdout.strip()).resolve())


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it does not say why"])[-1]


def _run(command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - fixed commands
        command,
        cwd=folder,
        env=child_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        check=False,
    )
