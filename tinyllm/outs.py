"""What commands write, and what they may replace: only what they wrote themselves.

A folder is replaced if it is absent or empty, or if everything in it is by name what the command
writes, in this or an earlier version, and a file that only the command writes is among it. A file
is replaced if it is absent or empty, or begins as the command lets it begin. Everything else is
somebody's own and stays.
"""

import fnmatch
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tinyllm.errors import ConfigError

# DVC keeps its list of what git ignores in the folder, and a new folder takes it over
IGNORE = ".gitignore"
# how far into a file its sign may stand
_BEGINNING = 64 * 1024


@dataclass(frozen=True)
class OutFolder:
    """What a command's folder holds, by which it is told from anybody else's.

    Attributes:
        writer: the command, as a person calls it.
        files: patterns of the files that it writes or once wrote; `*` also stands for slashes.
        mark: the one of them that is always there and holds `sign`.
        sign: bytes near the beginning of the mark that nobody else would write there.
    """

    writer: str
    files: tuple[str, ...]
    mark: str
    sign: bytes

    def objection(self, path: Path) -> str | None:
        """Why what stands at `path` may not be replaced, to follow the path; None if it may."""
        if not path.exists():
            return None
        if not path.is_dir():
            return "is not a folder"
        if os.path.ismount(path):
            return "is a mount point and cannot be replaced; name a folder inside it"
        found = _entries(path)
        foreign = [name for name in found if not self._writes(name)]
        if found and not foreign and not _holds(path / self.mark, self.sign):
            foreign = found
        if foreign:
            more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
            return (
                f"holds {foreign[0]!r}{more}, which '{self.writer}' did not write; name another "
                f"folder, or move that away"
            )
        for folder, _, _ in os.walk(path):
            if not os.access(folder, os.W_OK | os.X_OK):
                return f"cannot be replaced, since {folder} is write-protected"
        return None

    def _writes(self, name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.files)


@dataclass(frozen=True)
class OutFile:
    """What a file that a command writes begins with; `writer` is the command."""

    writer: str
    sign: bytes

    def objection(self, path: Path) -> str | None:
        """Why what stands at `path` may not be replaced, to follow the path; None if it may."""
        if not path.exists():
            return None
        if not path.is_file():
            return "is not a regular file"
        if path.stat().st_size and not _holds(path, self.sign):
            return f"was not written by '{self.writer}'; name another file, or move it away"
        return None


Out = OutFolder | OutFile


def check_places(
    outs: Mapping[str, tuple[Path, Out]], inputs: Mapping[str, Path] | None = None
) -> None:
    """Check, before any work, that outs may be written and that no place lies in another.

    Args:
        outs: what is written where, by the name that the user knows it by, such as `--out`.
        inputs: what is read, by such a name.

    Raises:
        ConfigError: an out cannot be written, holds what its writer did not write, or is, holds
            or lies in another place or holds the current folder.
    """
    read = dict(inputs or {})
    try:
        here = Path.cwd()
        places = {name: path.resolve() for name, (path, _) in outs.items()}
        places |= {name: path.resolve() for name, path in read.items()}
    except OSError as error:
        raise ConfigError(f"The current folder cannot be used: {error.strerror}.") from None
    for name, (path, _) in outs.items():
        if _contains(places[name], here):
            raise ConfigError(
                f"{name} {path} is or holds the current folder, which cannot be replaced; name a "
                f"folder inside it."
            )
    for name, (path, kind) in outs.items():
        place = places[name]
        for other, where in places.items():
            if other != name and (_contains(place, where) or _contains(where, place)):
                shown = read[other] if other in read else outs[other][0]
                raise ConfigError(
                    f"{name} {path} and {other} {shown} are the same place or lie in each other; "
                    f"name two separate places."
                )
        if why := kind.objection(place) or _blocked(place):
            raise ConfigError(f"{name} {path} {why}.")


def _entries(folder: Path) -> list[str]:
    """Everything below a folder but folders that hold something, the shallowest first."""
    found = []
    for place, folders, files in os.walk(folder):
        inside = Path(place).relative_to(folder)
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        found += [(inside / name).as_posix() for name in (*files, *links)]
        if not folders and not files and Path(place) != folder:
            found.append(f"{inside.as_posix()}/")
    found = [name for name in found if name != IGNORE]
    return sorted(found, key=lambda name: (name.count("/"), name))


def _holds(path: Path, sign: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return sign in file.read(_BEGINNING)
    except OSError:
        return False


def _contains(outer: Path, inner: Path) -> bool:
    """Whether a place is another or lies in it, by whatever names both are called."""
    return any(outer == one or _is_same(outer, one) for one in (inner, *inner.parents))


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _blocked(place: Path) -> str | None:
    """Why nothing can be made at a place, to follow the path; None if something can."""
    above = next(folder for folder in place.parents if folder.exists())
    if not above.is_dir():
        return f"cannot be written, since {above} is not a folder"
    if not os.access(above, os.W_OK | os.X_OK):
        return f"cannot be written, since {above} is write-protected"
    return None
