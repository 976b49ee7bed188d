"""Replacing what a command wrote before with what it writes now, atomically."""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tinyllm.base.errors import ConfigError, TinyLLMError
from tinyllm.base.files import write_bytes
from tinyllm.base.outs import IGNORE, OutFile, OutFolder

_UNFINISHED, _REPLACED = ".new.unfinished", ".old.unfinished"
# of folders with finished parts of an out, see tinyllm.base.partial
PARTS = ".parts.unfinished"


@contextlib.contextmanager
def new_directory(path: Path, kind: OutFolder) -> Iterator[Path]:
    """Yield an empty temporary folder that replaces `path` if the block succeeds.

    The old folder stays until the new one is complete; a symbolic link is followed.

    Raises:
        ConfigError: `path` holds something that `kind` did not write.
        TinyLLMError: the folder cannot be written to, or the disk is full.
    """
    temporary: Path | None = None
    try:
        place = path.resolve()
        place.parent.mkdir(parents=True, exist_ok=True)
        _clear_abandoned(place, kind)
        _refuse(path, kind.objection(place))
        temporary = _beside(place, _UNFINISHED)
        # as any other folder that this user makes; tempfile's are closed to everybody else
        temporary.chmod(0o777 & ~_umask())
        yield temporary
        if (place / IGNORE).is_file():
            shutil.copyfile(place / IGNORE, temporary / IGNORE)
        _flush_tree(temporary)
        _refuse(path, kind.objection(place))
        if place.exists():
            shutil.copymode(place, temporary)
        _take_place(temporary, place, path, kind)
    except OSError as error:
        large = error.errno == errno.EFBIG
        limit = "; the shell limits files to less, see 'ulimit -f'" if large else ""
        raise TinyLLMError(f"Cannot write {path}: {error.strerror or error}{limit}.") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _umask() -> int:
    # it can only be read by setting it
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def write_out(path: Path, data: bytes, kind: OutFile) -> None:
    """Write a file, or replace one of the same kind; a symbolic link is followed.

    Raises:
        ConfigError: `path` is a file that `kind` did not write.
        TinyLLMError: the file cannot be written.
    """
    _refuse(path, kind.objection(path.resolve()))
    write_bytes(path.resolve(), data)


def remove_out(path: Path, kind: OutFolder) -> None:
    """Delete a folder that `kind` wrote, and parts of it; a symbolic link is followed, and stays.

    Raises:
        ConfigError: it holds something that `kind` did not write.
    """
    place = path.resolve()
    _refuse(path, kind.objection(place))
    if place.exists():
        shutil.rmtree(place)
    for parts in place.parent.glob(f"{hidden_prefix(place)}*{PARTS}"):
        shutil.rmtree(parts)


def _refuse(path: Path, why: str | None) -> None:
    if why:
        raise ConfigError(f"{path} {why}.")


def _beside(place: Path, suffix: str) -> Path:
    return Path(
        tempfile.mkdtemp(
            prefix=f"{hidden_prefix(place)}{os.getpid()}.", suffix=suffix, dir=place.parent
        )
    )


def hidden_prefix(place: Path) -> str:
    """How the names of the hidden folders beside an out begin."""
    # hashed, since the name itself may be as long as the file system permits
    return f".{hashlib.sha256(os.fsencode(place.name)).hexdigest()[:12]}."


def _take_place(new: Path, place: Path, path: Path, kind: OutFolder) -> None:
    """Rename `new` to `place`, then delete the old folder.

    Raises:
        ConfigError: somebody has written into the old folder since it was checked; it stays.
    """
    if not place.exists():
        new.rename(place)
        return
    old = _beside(place, _REPLACED)
    try:
        # a rename may replace an empty folder
        place.rename(old)
    except OSError:
        old.rmdir()
        raise
    try:
        _refuse(path, kind.objection(old))
        new.rename(place)
    except (OSError, ConfigError):
        old.rename(place)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _clear_abandoned(place: Path, kind: OutFolder) -> None:
    """Clean up after processes that were killed while they replaced `place`.

    An old folder that was not replaced yet is restored; the rest is deleted.
    """
    for suffix in (_REPLACED, _UNFINISHED):
        pattern = re.compile(rf"{re.escape(hidden_prefix(place))}(\d+)\.[^.]+{re.escape(suffix)}")
        for folder in place.parent.glob(f".*{suffix}"):
            found = pattern.fullmatch(folder.name)
            if found is None or _is_running(int(found[1])):
                continue
            if suffix == _REPLACED and not place.exists() and any(folder.iterdir()):
                folder.rename(place)
            elif suffix == _UNFINISHED or kind.objection(folder) is None:
                shutil.rmtree(folder, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _flush_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
