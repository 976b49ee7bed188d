"""Which files of a folder are the corpus, and which are left out and why."""

import errno
import os
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from tinyllm.base.errors import TinyLLMError
from tinyllm.base.text import plain

# what programs leave beside a text: archives of macOS, compiled Python
_LEFT_BEHIND = frozenset({"__MACOSX", "__pycache__"})
_KINDS = {
    stat.S_IFIFO: "pipes",
    stat.S_IFSOCK: "sockets",
    stat.S_IFCHR: "devices",
    stat.S_IFBLK: "devices",
}
_NAMED = 3
_LONGEST_NAME = 60


@dataclass(frozen=True)
class Survey:
    """A corpus on disk.

    Attributes:
        taken: the files, sorted by relative path.
        left: relative paths of everything else, by reason; a folder stands for what is in it.
    """

    taken: list[Path]
    left: dict[str, list[str]]

    def leave(self, why: str, name: str) -> None:
        """Note what is left out."""
        self.left.setdefault(why, []).append(name)

    def describe(self) -> str:
        """What was taken and left out, in numbers and names: one line."""
        count = sum(map(len, self.left.values()))
        reasons = [f"{len(names)} {why} ({_some(names)})" for why, names in self.left.items()]
        left = f", left out {count}: {'; '.join(reasons)}" if count else ""
        return f"taken {len(self.taken)} file{'s' * (len(self.taken) != 1)}{left}"


def find_files(source: Path, pattern: str) -> list[Path]:
    """Return `source` itself if it is a file, else the files of the corpus in it; see `survey`."""
    return survey(source, pattern).taken


def survey(source: Path, pattern: str) -> Survey:
    """Find the files of a corpus.

    Hidden and backup files are not part of it, nor are links to what is in it anyway. Names match
    whatever their case. Folders behind links are left out, as DVC does not look behind them.

    Args:
        source: a file, or a folder of files at any depth.
        pattern: of the names of files, such as `*.txt`; with folders, such as `plays/*.txt`.

    Raises:
        TinyLLMError: the source is missing or no file, something in it cannot be read, or no file
            in it matches.
    """
    try:
        kind = source.stat().st_mode
    except (OSError, ValueError):
        kind = 0
    if stat.S_ISREG(kind):
        return Survey([source], {})
    if not stat.S_ISDIR(kind):
        what = "is no file or folder" if kind else "cannot be found"
        raise TinyLLMError(
            f"There is no corpus at {plain(str(source))}, which {what}; put a text file or a "
            f"folder there, or set prepare.source to where it is."
        )
    found = Survey([], {})
    for name, path in _walk(source, found):
        if why := _reason_against(name, path, source, pattern):
            found.leave(why, name)
        else:
            found.taken.append(path)
    if not found.taken:
        raise TinyLLMError(
            f"No file in {plain(str(source))} matches {pattern!r} and holds text: "
            f"{found.describe()}; add text files, or set prepare.pattern."
        )
    found.taken.sort(key=lambda path: path.relative_to(source).as_posix())
    return found


def _walk(source: Path, found: Survey) -> Iterator[tuple[str, Path]]:
    """Yield relative names and paths of files; note the folders that are left out."""
    pending = [source]
    while pending:
        folder = pending.pop()
        try:
            entries = [(entry.name, entry.is_symlink()) for entry in os.scandir(folder)]
        except OSError as error:
            raise _unreadable(folder, error) from None
        for base, is_link in entries:
            path = folder / base
            name = path.relative_to(source).as_posix()
            if not path.is_dir():
                yield name, path
            elif is_link:
                found.leave("links to folders", f"{name}/")
            elif is_hidden(base):
                found.leave("hidden or backup", f"{name}/")
            else:
                pending.append(path)


def _reason_against(name: str, path: Path, source: Path, pattern: str) -> str:
    """Why a file is not part of the corpus; empty if it is."""
    if is_hidden(path.name):
        return "hidden or backup"
    if not matches(name, pattern):
        return f"not {pattern}"
    try:
        facts = path.stat()
    except OSError as error:
        if path.is_symlink() and error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return "links to nothing"
        raise _unreadable(path, error) from None
    if not stat.S_ISREG(facts.st_mode):
        return _KINDS.get(stat.S_IFMT(facts.st_mode), "no files")
    if path.is_symlink() and _is_inside(path.resolve(), source.resolve(), pattern):
        return "links to another of the files"
    return "" if facts.st_size else "empty"


def _is_inside(target: Path, source: Path, pattern: str) -> bool:
    """Whether the target of a link is itself a file of the corpus."""
    if not target.is_relative_to(source):
        return False
    name = target.relative_to(source).as_posix()
    return matches(name, pattern) and not any(map(is_hidden, name.split("/")))


def matches(name: str, pattern: str) -> bool:
    """Whether a relative path ends in what the pattern says, whatever the case.

    `*` and `?` stand for characters of one name, `**` for any folders.

    Raises:
        TinyLLMError: the pattern is empty, absolute, or leaves the folder.
    """
    wanted = _fold(pattern).split("/")
    if any(part in ("", ".", "..") or ("**" in part and part != "**") for part in wanted):
        raise TinyLLMError(
            f"prepare.pattern is {pattern!r}, which matches no file name; use for example *.txt."
        )
    # which beginnings of the pattern match the parts read so far
    states = {0}
    wanted = ["**", *wanted]
    for part in _fold(name).split("/"):
        states = _skip(states, wanted)
        states = {
            after
            for state in states
            if state < len(wanted)
            for after in ([state] if wanted[state] == "**" else [state + 1])
            if wanted[state] == "**" or fnmatchcase(part, wanted[state])
        }
    return len(wanted) in _skip(states, wanted) and wanted[-1] != "**"


def _skip(states: set[int], wanted: list[str]) -> set[int]:
    """The states after `**` has matched no further folder."""
    reached = set(states)
    for state in range(len(wanted)):
        if state in reached and wanted[state] == "**":
            reached.add(state + 1)
    return reached


def _fold(name: str) -> str:
    # macOS stores names decomposed
    return unicodedata.normalize("NFC", name).lower()


def is_hidden(name: str) -> bool:
    """Whether a program left the file or folder, not a person."""
    backup = name.endswith("~") or (name.startswith("#") and name.endswith("#"))
    return name.startswith(".") or backup or name in _LEFT_BEHIND


def _unreadable(path: Path, error: OSError) -> TinyLLMError:
    return TinyLLMError(
        f"Cannot read {plain(str(path))} of the corpus: {error.strerror}; make it readable, or "
        f"move it elsewhere."
    )


def _some(names: list[str]) -> str:
    shown = ", ".join(_shown(name) for name in sorted(names)[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and others"


def _shown(name: str) -> str:
    return plain(name if len(name) <= _LONGEST_NAME else f"...{name[-_LONGEST_NAME:]}")
