"""Writing files so that a reader finds them complete or not at all."""

import contextlib
import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinyllm.errors import TinyLLMError

_IGNORE = ".gitignore"
_UNFINISHED = ".unfinished"


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to a temporary file beside `path`, flush it to disk, rename it into place.

    Raises:
        TinyLLMError: the folder cannot be written to, or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise TinyLLMError(f"Cannot write {path}: {error.strerror}.") from None


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, newlines as they stand."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON that ends in a newline."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        TinyLLMError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TinyLLMError(f"Cannot read {path}: {error.strerror}.") from None
    except ValueError as error:
        raise TinyLLMError(f"{path} is damaged: it is not JSON ({error}).") from None


@contextlib.contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder that takes the place of `path` if the block succeeds.

    Raises:
        TinyLLMError: the folder cannot be written to, or the disk is full.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        prefix = f".{path.name}.{os.getpid()}."
        temporary = Path(tempfile.mkdtemp(prefix=prefix, suffix=_UNFINISHED, dir=path.parent))
        temporary.chmod(0o755)
        yield temporary
        # DVC keeps its list of what git shall not see in the folder; that is not ours to delete
        if (path / _IGNORE).is_file():
            shutil.copyfile(path / _IGNORE, temporary / _IGNORE)
        _flush_tree(temporary)
        shutil.rmtree(path, ignore_errors=True)
        temporary.replace(path)
    except OSError as error:
        raise TinyLLMError(f"Cannot write {path}: {error.strerror or error}.") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove_abandoned(path: Path) -> None:
    """Delete what processes that were killed while they wrote `path` have left beside it."""
    for folder in path.parent.glob(f".{glob.escape(path.name)}.*{_UNFINISHED}"):
        owner = folder.name.removeprefix(f".{path.name}.").partition(".")[0]
        if owner.isdigit() and not _is_running(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _flush_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
