"""Writing files atomically, and reading them."""

import contextlib
import csv
import hashlib
import io
import json
import math
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tinyllm.base.errors import TinyLLMError

# what makes a folder a project
_PROJECT = ("dvc.yaml", "params.yaml")
# names the project in processes that work in a copy of it
ROOT_VARIABLE = "TINYLLM_ROOT"
# the tokenizer of an alphabet of all characters, in any format, is smaller
LARGEST_TEXT = 200_000_000
# bytes that are hashed at once
_PIECE = 1 << 20


def repository_root() -> Path:
    """The project's folder, also from a folder in it; else the current one.

    In the copies that experiments run in, it is that of the project, not of the copy.
    """
    named = os.environ.get(ROOT_VARIABLE) or os.environ.get("DVC_ROOT")
    here = Path(named or Path.cwd()).resolve()
    projects = (at for at in (here, *here.parents) if all((at / f).is_file() for f in _PROJECT))
    return next(projects, here)


def working_folder() -> Path:
    """The folder for working state that is neither a dependency nor an out."""
    return repository_root() / ".tinyllm"


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
    """Write `text` as UTF-8, with its newlines unchanged."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows with the same keys as CSV with a header."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, buffer.getvalue())


def check_regular(
    path: Path, largest: int | None = None, error: type[TinyLLMError] = TinyLLMError
) -> None:
    """Check that a file can be read without waiting, and into memory.

    Args:
        path: the file.
        largest: bytes that it may have; None: any number.
        error: what to raise.

    Raises:
        TinyLLMError: it is missing, a folder, a pipe, a device, or too large.
    """
    try:
        found = path.stat()
    except (OSError, ValueError) as fault:
        raise error(f"Cannot read {path}: {getattr(fault, 'strerror', None) or fault}.") from None
    if stat.S_ISDIR(found.st_mode):
        raise error(f"Cannot read {path}: it is a folder.")
    if not stat.S_ISREG(found.st_mode):
        raise error(f"Cannot read {path}: it is not a regular file.")
    if largest is not None and found.st_size > largest:
        raise error(
            f"Cannot read {path}: it has {found.st_size:,} bytes, more than the {largest:,} that "
            f"such a file may have."
        )


def read_text(
    path: Path, largest: int = LARGEST_TEXT, error: type[TinyLLMError] = TinyLLMError
) -> str:
    """Read a whole file as UTF-8, with its newlines unchanged; see `check_regular`.

    Raises:
        TinyLLMError: it cannot be read, or is not UTF-8.
    """
    check_regular(path, largest, error)
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as fault:
        raise error(f"Cannot read {path}: {fault.strerror}.") from None
    except UnicodeDecodeError as fault:
        raise error(f"{path} is damaged: it is not UTF-8 at byte {fault.start}.") from None


def read_csv(path: Path, columns: Sequence[str]) -> list[dict[str, float]]:
    """Read the numbers that `write_csv` wrote.

    Raises:
        TinyLLMError: the file is missing, or is not a table of finite numbers with these columns.
    """
    text = read_text(path)
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        table = [{key: float(row[key]) for key in columns} for row in rows]
    except (KeyError, TypeError, ValueError, csv.Error):
        table = None
    if table is None or not all(math.isfinite(value) for row in table for value in row.values()):
        raise TinyLLMError(
            f"{path} is damaged: it is not a table of numbers with the columns "
            f"{', '.join(columns)}."
        )
    return table


def rounded(value: float) -> float:
    """Round to six decimals, which C libraries agree on."""
    return round(float(value), 6)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        TinyLLMError: the file is missing, too large, or is not JSON.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except RecursionError:
        raise TinyLLMError(f"{path} is damaged: it is nested too deeply.") from None
    except ValueError as error:
        raise TinyLLMError(f"{path} is damaged: it is not JSON ({error}).") from None


def fingerprint(params: Mapping[str, Any], files: Mapping[str, Path]) -> str:
    """The first 32 digits of the SHA-256 of params and files.

    Args:
        params: plain values.
        files: by name; where they are does not matter.

    Raises:
        TinyLLMError: a file is missing or is not a regular file.
    """
    digest = hashlib.sha256(json.dumps(dict(params), sort_keys=True).encode())
    for name, path in sorted(files.items()):
        check_regular(path)
        digest.update(f"\0{name}\0".encode())
        with path.open("rb") as file:
            while data := file.read(_PIECE):
                digest.update(data)
    return digest.hexdigest()[:32]


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes.

    Raises:
        TinyLLMError: it is missing or is not a regular file.
    """
    check_regular(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
