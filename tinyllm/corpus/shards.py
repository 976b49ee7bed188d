"""Writing text in shards, with the facts about each: counts, fingerprint, alphabet."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from tinyllm.base.code_points import code_points
from tinyllm.base.errors import TinyLLMError
from tinyllm.corpus.cut import PIECE

# bytes of a shard, but for the rest of the last chunk
SHARD = 1 << 26
# characters that are counted and written at once, since small files come in small pieces
_BUFFER = 1 << 16


class ShardWriter:
    """Writes text to files `NAME-00.txt`, `NAME-01.txt` and so on, each of about `SHARD` bytes.

    The alphabet of each lies beside it, `NAME-00.alphabet`: of a large corpus in Chinese, those of
    all shards together fill a memory.

    Attributes:
        shards: the facts of each file, as plain values: `file`, `characters`, `bytes`, `lines`,
            `sha256`, `segments`, which says how many characters of it are from which file of the
            corpus, and `alphabet`, the file of that.
        files: SHA-256 of each file that was written, by name.
    """

    def __init__(self, folder: Path, name: str, size: int = SHARD) -> None:
        self.shards: list[dict[str, Any]] = []
        self.files: dict[str, str] = {}
        self._folder, self._name, self._size = folder, name, size
        self._file: IO[bytes] | None = None
        self._waiting: list[str] = []
        self._count = 0

    def __enter__(self) -> Self:
        """Return the writer; files appear with their first text."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close the last file."""
        self.close()

    def write(self, text: str, number: int = 0) -> None:
        """Append text that comes from a file of the corpus.

        Raises:
            TinyLLMError: the disk is full.
        """
        if not text:
            return
        if self._file is None:
            self._open()
        if self._segments and self._segments[-1][0] == number:
            self._segments[-1][1] += len(text)
        else:
            self._segments.append([number, len(text)])
        self._waiting.append(text)
        self._count += len(text)
        if self._count >= _BUFFER:
            self._flush()
            if self._facts.bytes >= self._size:
                self.close()

    def close(self) -> None:
        """Finish the file that is open.

        Raises:
            TinyLLMError: the disk is full.
        """
        if self._file is None:
            return
        self._flush()
        facts, beside = self._facts.as_dict(), self._path.with_suffix(".alphabet")
        alphabet = json.dumps(facts["alphabet"]).encode()
        try:
            self._file.close()
            beside.write_bytes(alphabet)
        except OSError as error:
            raise TinyLLMError(f"Cannot write {self._path}: {error.strerror}.") from None
        finally:
            self._file = None
        facts |= {"file": self._path.name, "alphabet": beside.name, "segments": self._segments}
        self.shards.append(facts)
        self.files[self._path.name] = facts["sha256"]
        self.files[beside.name] = hashlib.sha256(alphabet).hexdigest()

    def _open(self) -> None:
        self._path = self._folder / f"{self._name}-{len(self.shards):02d}.txt"
        try:
            self._file = self._path.open("wb")
        except OSError as error:
            raise TinyLLMError(f"Cannot write {self._path}: {error.strerror}.") from None
        self._facts = Facts()
        self._segments: list[list[int]] = []

    def _flush(self) -> None:
        text = "".join(self._waiting)
        self._waiting, self._count = [], 0
        # what a text is turned into takes many times its memory
        for start in range(0, len(text), PIECE):
            part = text[start : start + PIECE]
            data = part.encode("utf-8")
            self._facts.add(part, data)
            try:
                assert self._file is not None  # noqa: S101 - by _open
                self._file.write(data)
            except OSError as error:
                raise TinyLLMError(f"Cannot write to {self._folder}: {error.strerror}.") from None


class Facts:
    """Counts, fingerprint and alphabet of a text that comes in chunks."""

    def __init__(self) -> None:
        self.characters = self.bytes = 0
        self._hash = hashlib.sha256()
        self._counts = np.zeros(256, dtype=np.int64)

    def add(self, text: str, data: bytes) -> None:
        """Count a chunk.

        Args:
            text: the characters.
            data: the same in UTF-8.
        """
        self._hash.update(data)
        self.characters += len(text)
        self.bytes += len(data)
        counts = _count(code_points(text))
        if len(counts) > len(self._counts):
            self._counts, counts = counts, self._counts
        self._counts[: len(counts)] += counts

    def as_dict(self) -> dict[str, Any]:
        """Everything, as plain values; the alphabet by code point."""
        codes = np.flatnonzero(self._counts)
        counts = self._counts[codes].tolist()
        return {
            "characters": self.characters,
            "bytes": self.bytes,
            "lines": int(self._counts[ord("\n")]),
            "sha256": self._hash.hexdigest(),
            "alphabet": dict(zip(map(chr, codes.tolist()), counts, strict=True)),
        }


def _count(codes: NDArray[Any]) -> NDArray[np.int64]:
    """How often each code point occurs: [code points], up to 255 or to the largest."""
    if codes.dtype != np.uint8:
        return np.bincount(codes, minlength=256)
    # two at a time are counted in half the time
    even = len(codes) & ~1
    pairs = np.bincount(codes[:even].view("<u2"), minlength=1 << 16).reshape(256, 256)
    counts: NDArray[np.int64] = pairs.sum(axis=0) + pairs.sum(axis=1)
    counts[codes[even:]] += 1
    return counts


def describe(text: str) -> dict[str, Any]:
    """The facts of a whole text, with its fingerprint; see `TextFacts`."""
    facts = Facts()
    facts.add(text, text.encode("utf-8"))
    shards = [facts.as_dict()] if text else []
    return join_facts(shards, (shard["alphabet"] for shard in shards))


def join_facts(
    shards: Sequence[dict[str, Any]], alphabets: Iterable[Mapping[str, int]]
) -> dict[str, Any]:
    """The facts of a split from those of its shards, and their alphabets."""
    alphabet: Counter[str] = Counter()
    for one in alphabets:
        alphabet.update(one)
    hashes = [shard["sha256"] for shard in shards]
    return {
        "characters": sum(shard["characters"] for shard in shards),
        "bytes": sum(shard["bytes"] for shard in shards),
        "lines": sum(shard["lines"] for shard in shards),
        "fingerprint": fingerprint_of(hashes),
        "alphabet": dict(sorted(alphabet.items())),
    }


def fingerprint_of(hashes: Iterable[str]) -> str:
    """That of a split whose shards have these SHA-256: of one shard its own."""
    found = list(hashes)
    joined = "".join(f"{one}\n" for one in found) if len(found) != 1 else ""
    return found[0] if len(found) == 1 else hashlib.sha256(joined.encode()).hexdigest()
