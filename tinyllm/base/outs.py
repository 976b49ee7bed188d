"""What commands write, and how to recognize it, so that nothing else is ever replaced.

A folder is replaced if it is absent or empty, or if all its files have names that the command
writes, in this or an earlier version, and one of them can only be the command's. A file is
replaced if it is absent or empty, or begins as the command's files do. Everything else belongs to
the user and stays.
"""

import contextlib
import fnmatch
import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NoReturn

from tinyllm.base.errors import ConfigError

# DVC writes this file into the folder, and a new folder keeps it
IGNORE = ".gitignore"
# folders of other programs and of our working state
_TAKEN = {".dvc", ".git", ".tinyllm", "mlruns"}
# in bytes; the summary of a split grows with its alphabet
_LARGEST_MARK = 32_000_000
_BEGINNING = 1000
_OCTAL = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True)
class OutFolder:
    """The contents of a command's folder.

    Attributes:
        writer: the command, as the user types it.
        files: patterns of the files that it writes or once wrote; `*` does not match a slash.
        mark: the one of them that is always there.
        sign: keys of the mark if it is JSON, else what it may begin with.
    """

    writer: str
    files: tuple[str, ...]
    mark: str
    sign: frozenset[str] | tuple[bytes, ...]

    def objection(self, path: Path) -> str | None:
        """Why `path` may not be replaced, to follow the path in a message; None if it may."""
        if not path.exists():
            return None
        if not path.is_dir():
            return "is not a folder"
        if mount := _mount_below(path):
            return f"cannot be replaced, since {mount} is a mount point; name another folder"
        try:
            return self._foreign(path) or _protected(path)
        except OSError as error:
            return f"cannot be replaced, since {error.filename} cannot be read"

    def _foreign(self, path: Path) -> str | None:
        found = _entries(path)
        foreign = [name for name in found if not self._writes(path, name)]
        if found and not foreign and not self._is_signed(path / self.mark):
            foreign = found
        if foreign:
            more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
            return (
                f"holds {foreign[0]!r}{more}, which '{self.writer}' did not write; name another "
                f"folder, or move that away"
            )
        return None

    def _writes(self, folder: Path, name: str) -> bool:
        return any(_matches(name, pattern) for pattern in self.files) and (folder / name).is_file()

    def _is_signed(self, mark: Path) -> bool:
        try:
            if mark.stat().st_size > _LARGEST_MARK:
                return False
            content = mark.read_bytes()
            if isinstance(self.sign, tuple):
                return content.startswith(self.sign)
            found = json.loads(content)
        except (OSError, ValueError, RecursionError):
            return False
        return isinstance(found, dict) and self.sign <= found.keys()


@dataclass(frozen=True)
class OutFile:
    """A file that a command writes: its first bytes, and a sign that follows soon after."""

    writer: str
    beginning: bytes
    sign: bytes = b""

    def objection(self, path: Path) -> str | None:
        """Why `path` may not be replaced, to follow the path in a message; None if it may."""
        if not path.exists():
            return None
        if not path.is_file():
            return "is not a regular file"
        with path.open("rb") as file:
            content = file.read(_BEGINNING)
        if content and not (content.startswith(self.beginning) and self.sign in content):
            return f"was not written by '{self.writer}'; name another file, or move it away"
        return None


Out = OutFolder | OutFile


def check_places(
    outs: Mapping[str, tuple[Path, Out]], inputs: Mapping[str, Path] | None = None
) -> None:
    """Check, before any work, that outs may be written and that no place is inside another.

    Args:
        outs: the path and kind of each out, by the user's name for it, such as `--out`.
        inputs: the paths that are read, likewise.

    Raises:
        ConfigError: an out cannot be written, holds something that its writer did not write,
            overlaps with another place, or holds the current folder.
    """
    for name, (path, kind) in outs.items():
        others = {other: where for other, (where, _) in outs.items() if other != name}
        try:
            # a loop of links, which resolve() does not report from Python 3.13 on
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                path.stat()
            _check_place(name, path, {**others, **(inputs or {})})
            why = kind.objection(path.resolve()) or _blocked(path.resolve())
        # of an input, such a loop is a RuntimeError before Python 3.13
        except (OSError, RuntimeError) as error:
            why = f"cannot be used: {getattr(error, 'strerror', None) or error}"
        if why:
            raise ConfigError(f"{name} {path} {why}.")


def _check_place(name: str, path: Path, others: Mapping[str, Path]) -> None:
    """Check the location of an out.

    Raises:
        ConfigError: it overlaps with another place, the current folder or another program's.
    """
    place, here = path.resolve(), Path.cwd()
    if _contains(place, here):
        raise ConfigError(
            f"{name} {path} is or holds the current folder, which cannot be replaced; name a "
            f"folder inside it."
        )
    if place.is_relative_to(here) and (taken := _TAKEN & set(place.relative_to(here).parts)):
        raise ConfigError(f"{name} {path} lies in {min(taken)}, which holds other things.")
    for other, where in others.items():
        if _contains(place, where.resolve()) or _contains(where.resolve(), place):
            raise ConfigError(
                f"{name} {path} and {other} {where} are the same place or lie in each other; "
                f"name two separate places."
            )


def _entries(folder: Path) -> list[str]:
    """All files and empty folders in a folder, the shallowest first.

    Raises:
        OSError: a folder in it cannot be read.
    """
    found = []
    for place, folders, files in os.walk(folder, onerror=_raise):
        inside = Path(place).relative_to(folder)
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        found += [(inside / name).as_posix() for name in (*files, *links)]
        if not folders and not files and Path(place) != folder:
            found.append(f"{inside.as_posix()}/")
    found = [name for name in found if name != IGNORE]
    return sorted(found, key=lambda name: (name.count("/"), name))


def _protected(path: Path) -> str | None:
    for folder, _, _ in os.walk(path):
        if not os.access(folder, os.W_OK | os.X_OK):
            return f"cannot be replaced, since {folder} is write-protected"
    return None


def _raise(error: OSError) -> NoReturn:
    raise error


def _matches(name: str, pattern: str) -> bool:
    parts, patterns = PurePosixPath(name).parts, PurePosixPath(pattern).parts
    return len(parts) == len(patterns) and all(map(fnmatch.fnmatchcase, parts, patterns))


def _mount_below(path: Path) -> Path | None:
    """A mount point at or below `path`, whose contents must not be removed."""
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return path if os.path.ismount(path) else None
    # the kernel writes a space as \040
    names = (_OCTAL.sub(lambda found: bytes([int(found[1], 8)]), li.split()[4]) for li in lines)
    points = (Path(os.fsdecode(name)) for name in names)
    return next((point for point in points if point.is_relative_to(path)), None)


def _contains(outer: Path, inner: Path) -> bool:
    """Whether `inner` is `outer` or lies in it, also through links."""
    return any(outer == one or _is_same(outer, one) for one in (inner, *inner.parents))


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _blocked(place: Path) -> str | None:
    """Why nothing can be created at `place`, to follow the path; None if something can."""
    above = next(folder for folder in place.parents if folder.exists())
    if not above.is_dir():
        return f"cannot be written, since {above} is not a folder"
    if not os.access(above, os.W_OK | os.X_OK):
        return f"cannot be written, since {above} is write-protected"
    try:
        # some folders, such as those of /proc, are not protected and yet take nothing
        tempfile.TemporaryFile(dir=above).close()
    except OSError as error:
        return f"cannot be written, since {above} takes no files: {error.strerror}"
    longest = os.pathconf(above, "PC_NAME_MAX")
    if any(len(os.fsencode(part)) > longest for part in place.relative_to(above).parts):
        return "cannot be written, since its name is too long"
    return None
