"""Folders of finished parts: what a killed stage need not do again.

Such a folder lies beside the out that it is for. Its name holds a key of everything that the parts
depend on, so parts of another corpus or with other params are never used.
"""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

import tinyllm
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.files import fingerprint, sha256, write_bytes
from tinyllm.base.replacing import PARTS, hidden_prefix


def key_of(facts: Mapping[str, Any], *rooms: str) -> str:
    """A key of plain values, and of the code of rooms such as `corpus`."""
    package = Path(tinyllm.__file__).parent
    files = {
        f"{room}/{file.name}": file for room in rooms for file in (package / room).glob("*.py")
    }
    return fingerprint(facts, files)


@contextlib.contextmanager
def partial_folder(out: Path, key: str) -> Iterator[Path]:
    """Yield the folder of the parts for `out`; it is deleted if the block succeeds.

    Those of other keys are deleted at once.

    Raises:
        TinyLLMError: another process is at the same work, or the folder cannot be written.
    """
    place = out.resolve()
    folder = place.parent / f"{hidden_prefix(place)}{key}{PARTS}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _clear_others(place, folder)
        lock = FileLock(folder / "lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise TinyLLMError(
            f"Another process is already writing {out}; wait for it, or stop it."
        ) from None
    except OSError as error:
        raise TinyLLMError(f"Cannot write beside {out}: {error.strerror}.") from None
    try:
        yield folder
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        lock.release()


def write_part(folder: Path, name: str, value: Any, files: Mapping[str, str]) -> None:
    """Record that a part is finished.

    Args:
        folder: of the parts.
        name: of the part.
        value: its result, as plain values.
        files: SHA-256 of each file that belongs to it, by name.
    """
    record = {"value": value, "files": dict(files)}
    write_bytes(folder / f"{name}.json", json.dumps(record).encode())


def read_part(folder: Path, name: str) -> Any:
    """The result of a finished part whose files are as they were written, or None."""
    try:
        record = json.loads((folder / f"{name}.json").read_bytes())
        if all(sha256(folder / file) == digest for file, digest in record["files"].items()):
            return record["value"]
    except (OSError, ValueError, TinyLLMError):
        # not finished
        pass
    return None


def place_file(source: Path, target: Path) -> None:
    """Give a file a second name; the first stays, until all parts are in place."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _clear_others(place: Path, folder: Path) -> None:
    """Delete parts that were for other params, unless a process is at work on them."""
    pattern = re.compile(rf"{re.escape(hidden_prefix(place))}[0-9a-f]{{32}}{re.escape(PARTS)}")
    for other in place.parent.glob(f".*{PARTS}"):
        if other != folder and pattern.fullmatch(other.name):
            with contextlib.suppress(Timeout, OSError), FileLock(other / "lock", timeout=0):
                shutil.rmtree(other, ignore_errors=True)
