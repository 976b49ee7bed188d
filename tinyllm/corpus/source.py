"""The files of a corpus: here or remote, plain or compressed, text or records."""

import bz2
import gzip
import io
import lzma
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from tinyllm.base.errors import TinyLLMError
from tinyllm.base.events import Advance
from tinyllm.base.text import plain

_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_KINDS: dict[str, Literal["jsonl", "parquet"]] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
# of addresses on this machine
_HERE = ("file", "local")
# what the decompressors raise, besides OSError
_DAMAGED = (EOFError, zlib.error, lzma.LZMAError)
# bytes that are decompressed at once
_BUFFER = 1 << 20


@dataclass(frozen=True)
class SourceFile:
    """A file of the corpus.

    Attributes:
        path: on this machine, or an address such as `s3://bucket/key`.
        name: relative to the corpus.
        size: in bytes, as it is stored.
        version: changes when the file does: its ETag, or when its content and when anything about
            it changed last; of the two, programs that copy set the first one back.
    """

    path: str
    name: str
    size: int
    version: str

    @property
    def is_remote(self) -> bool:
        """Whether the path is an address."""
        return is_address(self.path)

    @property
    def shown(self) -> str:
        """The path as a message shows it: as a user in the current folder would write it."""
        try:
            return plain(str(Path(self.path).relative_to(Path.cwd())))
        except ValueError:
            return plain(self.path)

    @property
    def base(self) -> str:
        """The last part of its name."""
        return self.name.rpartition("/")[2]

    @property
    def compression(self) -> str:
        """The ending that names its compression; empty for none."""
        suffix = _suffix(self.name)
        return suffix if suffix in _COMPRESSED else ""

    @property
    def kind(self) -> Literal["text", "jsonl", "parquet"]:
        """What it holds, by its name."""
        compression = self.compression
        inner = self.name[: -len(compression)] if compression else self.name
        return _KINDS.get(_suffix(inner), "text")

    def check_unchanged(self) -> None:
        """Check that the file is the one that was listed; of remote ones nothing is known.

        Raises:
            TinyLLMError: it is another, so that part of what was read may be of either.
        """
        if self.is_remote:
            return
        try:
            now = local_file(Path(self.path), self.name)
        except OSError:
            now = None
        # not the second time: a new link to the file is no change
        if now is None or (now.size, now.version.split()[0]) != (
            self.size,
            self.version.split()[0],
        ):
            raise TinyLLMError(
                f"{self.shown} was changed while it was read; run it again when nothing writes "
                f"to it."
            )

    @contextmanager
    def open(self, begin: int = 0) -> Iterator[IO[bytes]]:
        """Open the file for reading, decompressed.

        Args:
            begin: the byte to start at, of a file that is not compressed.

        Raises:
            TinyLLMError: it cannot be read, or what is compressed is damaged.
        """
        try:
            with self._open_stored() as stored:
                if begin:
                    stored.seek(begin)
                with _decompressed(stored, self.compression) as file:
                    yield file
        except (*_DAMAGED, OSError) as error:
            why = " ".join(str(error).split())
            # the system's errors have a number, those of some decompressors have none
            if isinstance(error, OSError) and (error.errno or not self.compression):
                why = error.strerror or why
                raise TinyLLMError(f"Cannot read {self.shown}: {why}.") from None
            raise TinyLLMError(
                f"{self.shown} is damaged: it does not decompress ({why}); fetch it again, or move "
                f"it away."
            ) from None

    def _open_stored(self) -> IO[bytes]:
        if self.is_remote:
            file: IO[bytes] = file_system(self.path)[0].open(self.path, "rb")
            return file
        # without waiting, should somebody have put a pipe there since
        number = os.open(self.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        if not stat.S_ISREG(os.fstat(number).st_mode):
            os.close(number)
            raise TinyLLMError(f"Cannot read {self.shown}: it is not a regular file.")
        return os.fdopen(number, "rb")


def _suffix(name: str) -> str:
    # pathlib takes ten times as long
    return "." + name.rpartition(".")[2].lower()


def is_address(source: str) -> bool:
    """Whether a corpus is named by an address such as `s3://bucket/key`, not by a path."""
    scheme, mark, _ = source.partition("://")
    return bool(mark) and scheme.isalnum()


def place_here(source: str) -> Path | None:
    """Where a corpus is on this machine; None if it is on another."""
    scheme, _, path = source.partition("://")
    if not is_address(source):
        return Path(source)
    return Path(path) if scheme in _HERE else None


def file_system(address: str) -> tuple[Any, str]:
    """The file system of an address, by fsspec, and the path in it.

    Raises:
        TinyLLMError: there is none for this kind of address, or it cannot be reached.
    """
    import fsspec  # noqa: PLC0415 - for remote corpora only

    try:
        system, path = fsspec.core.url_to_fs(address)
    except (ImportError, ValueError) as error:
        why = " ".join(str(error).split())
        raise TinyLLMError(
            f"prepare.source is {plain(address)}, which cannot be opened ({why}); install the "
            f"package that fsspec needs for it, such as s3fs."
        ) from None
    # some connect at once, and raise whatever their protocol has
    except Exception as error:
        why = " ".join(str(error).split())
        raise TinyLLMError(
            f"prepare.source is {plain(address)}, which cannot be reached ({why}); check the "
            f"address."
        ) from None
    return system, path


@contextmanager
def _decompressed(stored: IO[bytes], compression: str) -> Iterator[IO[bytes]]:
    if not compression:
        yield stored
        return
    if compression == ".zst":
        # the standard library has it from Python 3.14 on
        import pyarrow as pa  # noqa: PLC0415 - slow, and for such files only

        with pa.CompressedInputStream(pa.PythonFile(stored, "r"), "zstd") as stream:
            yield io.BufferedReader(stream, _BUFFER)
        return
    opened: dict[str, Callable[[IO[bytes]], Any]] = {
        ".gz": lambda file: gzip.GzipFile(fileobj=file),
        ".bz2": bz2.BZ2File,
        ".xz": lzma.LZMAFile,
    }
    with opened[compression](stored) as file:
        yield io.BufferedReader(file, _BUFFER)


def local_file(path: Path, name: str) -> SourceFile:
    """A file of this machine as part of a corpus."""
    found = path.stat()
    version = f"{found.st_mtime_ns} {found.st_ctime_ns}"
    return SourceFile(str(path.absolute()), name, found.st_size, version)


class ReadProgress:
    """Says how many bytes of a file, as it is stored, have been read."""

    def __init__(self, file: SourceFile, advance: Advance) -> None:
        self._file, self._advance, self._told = file, advance, 0
        self._is_plain = not file.compression and file.kind == "text"

    def passed(self, count: int) -> None:
        """Tell of `count` more bytes of text; those of a compressed file are estimated."""
        if self._is_plain:
            self._advance(count)
            return
        # never more than there is
        more = min(count // 4, max(0, self._file.size - self._told))
        self._told += more
        self._advance(more)
