"""Uncommitted changes as a patch: changes of tracked files, and new source files.

The patch leaves the machine with the run. So it holds only files of the project, even if that lies
in a larger repository, none that is large or looks as if it held secrets, and of the new ones only
source code.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tinyllm.app.tracking.disclosure import has_secret_name, holds_secret
from tinyllm.app.tracking.lineage import git, run_git

# outs of the pipeline, which are not its inputs
_WRITTEN_BY_STAGES = (":(exclude)reports", ":(exclude)dvc.lock", ":(exclude)*/.gitignore")
# what `git apply` needs, whatever the user's configuration
_PLAIN_DIFF = (
    "--binary",
    "--no-ext-diff",
    "--no-textconv",
    "--no-color",
    "--src-prefix=a/",
    "--dst-prefix=b/",
)
# no text, YAML, JSON or shell: these are as often notes, data and keys as source
_SOURCE = {".css", ".dvc", ".html", ".js", ".py", ".pyi", ".toml"}
# how many file names a warning shows
_SHOWN = 5
# bytes of one new file, and of a changed one or of all
_LARGEST, _LARGEST_SUM = 1_000_000, 10_000_000


@dataclass(frozen=True)
class NewFiles:
    """Files that git neither tracks nor ignores, relative to the project."""

    taken: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Changes:
    """A patch for `git apply`, and the changed and the new files that it leaves out."""

    patch: bytes = b""
    left_out: list[str] = field(default_factory=list)
    new_left_out: list[str] = field(default_factory=list)

    def warnings(self) -> list[str]:
        """What a user should know about the files that are left out."""
        warnings = []
        if self.left_out:
            warnings.append(
                f"Changes of {_listed(self.left_out)} stay on this machine, since they are large "
                f"or look as if they showed a secret, and without them nobody can reproduce the "
                f"run; a line that ends in 'pragma: allowlist secret' is taken for harmless."
            )
        if self.new_left_out:
            warnings.append(
                f"Files that git does not track stay on this machine unless they are small source "
                f"files; the run does not record {_listed(self.new_left_out)} ('git add' those "
                f"that the model is made from, ignore the others)."
            )
        return warnings


def git_patch() -> bytes:
    """The patch of `find_changes`."""
    return find_changes().patch


def find_changes() -> Changes:
    """Uncommitted changes in the current folder, staged or not; none outside a repository."""
    if not git("rev-parse", "--verify", "HEAD"):
        return Changes()
    new = find_new_files()
    with _own_index() as own:
        git("add", "--update", "--", ".", environment=own)
        named = ("--cached", "HEAD", "--name-only", "--relative", "-z", "--", ".")
        changed = _split(run_git("diff", *named, *_WRITTEN_BY_STAGES, environment=own))
        left_out = [name for name in changed if _stays_here(name, own)]
        if left_out:
            _with_names(left_out, "reset", "--quiet", "HEAD", environment=own)
        # skip files that cannot be added
        _with_names(new.taken, "add", "--ignore-errors", environment=own)
        over = ("--cached", "HEAD", "--", ".", *_WRITTEN_BY_STAGES)
        patch = run_git("diff", *_PLAIN_DIFF, *over, environment=own)
    return Changes(patch, left_out, new.left_out)


def find_new_files() -> NewFiles:
    """New files, by whether a patch includes them; none outside a repository."""
    listed = ("ls-files", "--others", "--exclude-standard", "-z", "--", ".", *_WRITTEN_BY_STAGES)
    found, room = NewFiles(), _LARGEST_SUM
    for name in _split(run_git(*listed)):
        size = _size_of_source(name)
        if size is None or size > room:
            found.left_out.append(name)
        else:
            found.taken.append(name)
            room -= size
    return found


@contextlib.contextmanager
def _own_index() -> Iterator[Mapping[str, str]]:
    """The environment for an index and an object store of our own: the user's stay as they are."""
    index, objects = (Path(git("rev-parse", "--git-path", name)) for name in ("index", "objects"))
    with tempfile.TemporaryDirectory() as folder:
        own = {
            "GIT_INDEX_FILE": str(Path(folder) / "index"),
            "GIT_OBJECT_DIRECTORY": folder,
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(objects.resolve()),
        }
        with contextlib.suppress(FileNotFoundError):
            # with its time, by which git tells which files it has to read again
            shutil.copy2(index, own["GIT_INDEX_FILE"])
        yield own


def _stays_here(name: str, own: Mapping[str, str]) -> bool:
    """Whether the change of a tracked file is too large, or shows what looks like a secret."""
    path = Path(name)
    if has_secret_name(name) or (path.is_file() and path.stat().st_size > _LARGEST_SUM):
        return True
    shown = ("--cached", "--no-ext-diff", "--no-textconv", "--no-color", "HEAD", "--", name)
    diff = run_git("--literal-pathspecs", "diff", *shown, environment=own)
    # unchanged and removed lines are shown, too
    lines = [line[1:] for line in diff.decode("utf-8", "replace").splitlines()]
    return holds_secret(name, "\n".join(lines))


def _size_of_source(name: str) -> int | None:
    """The size of a new source file; None if it does not belong in a patch."""
    path = Path(name)
    if path.suffix not in _SOURCE or has_secret_name(name) or not path.is_file():
        return None
    try:
        size = path.stat().st_size
        if size > _LARGEST or holds_secret(name, path.read_bytes().decode("utf-8", "replace")):
            return None
    except OSError:
        return None
    return size


def _with_names(names: Iterable[str], *command: str, environment: Mapping[str, str]) -> None:
    """Run a git command on files of the current folder."""
    given = os.fsencode("\0".join(names))
    options = ("--pathspec-from-file=-", "--pathspec-file-nul")
    first, *others = command
    run_git("--literal-pathspecs", first, *options, *others, environment=environment, given=given)


def _split(output: bytes) -> list[str]:
    return [name for name in os.fsdecode(output).split("\0") if name]


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:_SHOWN]))
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown
