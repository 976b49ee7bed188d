"""Writing files atomically, and reading them."""

import contextlib
import csv
import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tinyllm.base.errors import TinyLLMError


def repository_root() -> Path:
    """The main repository; DVC names it even in the copies that experiments run in."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve()


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


def read_csv(path: Path) -> list[dict[str, float]]:
    """Read the numbers that `write_csv` wrote.

    Raises:
        TinyLLMError: the file is missing or is not a table of numbers.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return [{key: float(value) for key, value in row.items()} for row in rows]
    except OSError as error:
        raise TinyLLMError(f"Cannot read {path}: {error.strerror}.") from None
    except (TypeError, ValueError, csv.Error):
        raise TinyLLMError(f"{path} is damaged: it is not a table of numbers.") from None


def rounded(value: float) -> float:
    """Round to six decimals, which C libraries agree on."""
    return round(float(value), 6)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        TinyLLMError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TinyLLMError(f"Cannot read {path}: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise TinyLLMError(f"{path} is damaged: it is not JSON ({error}).") from None


def fingerprint(params: Mapping[str, Any], files: Mapping[str, Path]) -> str:
    """The first 32 digits of the SHA-256 of params and files.

    Args:
        params: plain values.
        files: by name; where they are does not matter.
    """
    digest = hashlib.sha256(json.dumps(dict(params), sort_keys=True).encode())
    for name, path in sorted(files.items()):
        digest.update(f"\0{name}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:32]


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
