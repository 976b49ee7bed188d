"""Uncommitted changes as a patch: changes of tracked files, and new source files.

The patch leaves the machine with the run, so it includes a new file only if its type and size are
those of source code, and neither its name nor its text suggests secrets.
"""

import contextlib
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

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
_SECRET = re.compile(
    r"secret(?!ar)|credential|password|passwd|api[-_]?key|private[-_]?key|(?<![a-z])v?env(?![a-z])",
    re.IGNORECASE,
)
# a URL with a password, a private key, and tokens of well-known services by their prefixes
_SECRET_TEXT = re.compile(
    rb"://[^/\s:@'\"]+:[^/\s@'\"]+@|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    rb"|\b(?:AKIA[0-9A-Z]{16}|gh[pousr]_\w{30,}|github_pat_\w{30,}|glpat-[\w-]{20,}"
    rb"|hf_[A-Za-z0-9]{30,}|xox[abprs]-[\w-]{10,}|sk-[\w-]{20,})"
)
# bytes of one new file, and of all
_LARGEST, _LARGEST_SUM = 1_000_000, 10_000_000


@dataclass(frozen=True)
class NewFiles:
    """Files that git neither tracks nor ignores, relative to the top of the repository."""

    taken: list[str]
    left_out: list[str]


def git_patch() -> bytes:
    """Uncommitted changes, for `git apply`; empty outside a repository.

    These are changes of tracked files, staged or not, and new source files.
    """
    top = git("rev-parse", "--show-toplevel")
    if not top or not git("rev-parse", "--verify", "HEAD"):
        return b""
    objects, index = (
        Path(top, git("-C", top, "rev-parse", "--git-path", name)) for name in ("objects", "index")
    )
    with tempfile.TemporaryDirectory() as folder:
        # a separate index and object store: the user's stay as they are
        own = {
            "GIT_INDEX_FILE": str(Path(folder) / "index"),
            "GIT_OBJECT_DIRECTORY": folder,
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(objects),
        }
        with contextlib.suppress(FileNotFoundError):
            # with its time, by which git tells which files it has to read again
            shutil.copy2(index, own["GIT_INDEX_FILE"])
        git("-C", top, "add", "--update", "--", ".", environment=own)
        names = "\0".join(find_new_files().taken)
        # skip files that cannot be added
        add = ("add", "--ignore-errors", "--pathspec-from-file=-", "--pathspec-file-nul")
        run_git("-C", top, "--literal-pathspecs", *add, environment=own, given=os.fsencode(names))
        over = ("--cached", "HEAD", "--", ".", *_WRITTEN_BY_STAGES)
        return run_git("-C", top, "diff", *_PLAIN_DIFF, *over, environment=own)


def find_new_files() -> NewFiles:
    """New files, by whether a patch includes them; none outside a repository."""
    top = git("rev-parse", "--show-toplevel")
    if not top:
        return NewFiles([], [])
    listed = ("ls-files", "--others", "--exclude-standard", "-z", "--", ".", *_WRITTEN_BY_STAGES)
    taken, left_out, room = [], [], _LARGEST_SUM
    for name in filter(None, os.fsdecode(run_git("-C", top, *listed)).split("\0")):
        size = _size_of_source(Path(top, name), name)
        if size is None or size > room:
            left_out.append(name)
        else:
            taken.append(name)
            room -= size
    return NewFiles(taken, left_out)


def _size_of_source(path: Path, name: str) -> int | None:
    """The size of a source file; None if it does not belong in a patch."""
    if path.suffix not in _SOURCE or _SECRET.search(name) or not path.is_file():
        return None
    try:
        size = path.stat().st_size
        if size > _LARGEST or _SECRET_TEXT.search(path.read_bytes()):
            return None
    except OSError:
        return None
    return size
