"""The tokens of a split: one array, or several files that are mapped and never copied."""

import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyllm.base.errors import TinyLLMError
from tinyllm.base.files import check_regular
from tinyllm.tokens.meta import REMEDY, Shard, read_meta

# tokens that `blocks` reads at once, unless told otherwise
_BLOCK = 1 << 20
# reads after which the pages are given back, each of which may be one of two megabytes
_MOST_READS = 32


class Tokens:
    """Tokens 0 .. vocab_size - 1 in shards that follow each other; read-only.

    Slices are views as long as they lie in one shard. Pages that were read stay in the system's
    cache, and for a short while only in the memory of this process.
    """

    def __init__(self, shards: Sequence[NDArray[Any]], vocab_size: int, where: str = "") -> None:
        """Put shards together.

        Args:
            shards: arrays of one integer type, each of shape [tokens].
            vocab_size: tokens beyond it are refused when they are read.
            where: the folder, for that message.
        """
        self._shards = list(shards) or [np.zeros(0, dtype=np.uint8)]
        self._ends = np.cumsum([len(shard) for shard in self._shards])
        self.vocab_size, self._where = vocab_size, where
        self.dtype = self._shards[0].dtype
        self._reads, self._read = 0, set[int]()

    @classmethod
    def of(cls, tokens: "Tokens | NDArray[Any]") -> "Tokens":
        """The tokens themselves, or those of an array [tokens], of any size."""
        return tokens if isinstance(tokens, Tokens) else cls([tokens], 1 << 62)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, part: slice) -> NDArray[Any]:
        """The tokens of a slice without a step: [tokens].

        Raises:
            TinyLLMError: one of them is beyond the vocabulary.
        """
        start, stop, step = part.indices(len(self))
        if step != 1:
            raise ValueError("tokens are read in their order, so slices have no step")
        first = int(np.searchsorted(self._ends, start, side="right"))
        pieces = []
        while start < stop:
            begin = int(self._ends[first]) - len(self._shards[first])
            pieces.append(self._shards[first][start - begin : stop - begin])
            self._give_back(first)
            start, first = int(self._ends[first]), first + 1
        if not pieces:
            return self._shards[0][:0]
        return self._checked(pieces[0] if len(pieces) == 1 else np.concatenate(pieces))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All tokens in memory."""
        found = self[:]
        return np.array(found, dtype=dtype) if copy else np.asarray(found, dtype=dtype)

    def windows(self, starts: NDArray[np.int64], length: int) -> NDArray[Any]:
        """The tokens of windows of one length: [windows, length].

        Raises:
            TinyLLMError: a token is beyond the vocabulary.
        """
        if len(self._shards) == 1:
            self._give_back(0, len(starts))
            return self._checked(self._shards[0][starts[:, None] + np.arange(length)])
        return np.stack([self[start : start + length] for start in starts.tolist()])

    def blocks(self, size: int = _BLOCK, overlap: int = 0) -> Iterator[NDArray[Any]]:
        """All tokens in order, in blocks of `size`; each begins with the last `overlap` again.

        Raises:
            TinyLLMError: a token is beyond the vocabulary.
        """
        for start in range(0, len(self), size):
            yield self[max(0, start - overlap) : start + size]

    def _give_back(self, shard: int, reads: int = 1) -> None:
        """Unmap the pages of earlier reads, if they are many; they are mapped again on use."""
        self._reads += reads
        self._read.add(shard)
        if self._reads <= _MOST_READS:
            return
        for number in self._read:
            place: Any = self._shards[number].base
            if isinstance(place, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
                place.madvise(mmap.MADV_DONTNEED)
        self._reads, self._read = reads, {shard}

    def _checked(self, tokens: NDArray[Any]) -> NDArray[Any]:
        # of a type that can hold no other
        if self.vocab_size > np.iinfo(self.dtype).max:
            return tokens
        if tokens.size and int(tokens.max()) >= self.vocab_size:
            raise TinyLLMError(
                f"{self._where or 'The array'} holds the token {int(tokens.max())}, but there are "
                f"only {self.vocab_size}; {REMEDY}."
            )
        return tokens


def load_tokens(folder: Path, split: str) -> Tokens:
    """Map the tokens of a split of the tokenize stage into memory.

    Raises:
        TinyLLMError: the folder holds no such split, or a file has the wrong length.
    """
    meta = read_meta(folder)
    dtype = np.dtype(meta.dtype).newbyteorder("<")
    shards = [_map(folder, shard, dtype) for shard in meta.split(split).shards]
    empty = [np.zeros(0, dtype=dtype)]
    return Tokens(shards or empty, meta.vocab_size, str(folder))


def _map(folder: Path, shard: Shard, dtype: np.dtype[Any]) -> NDArray[Any]:
    path = folder / shard.file
    check_regular(path)
    found, expected = path.stat().st_size, shard.tokens * dtype.itemsize
    if found != expected:
        raise TinyLLMError(f"{path} has {found} bytes instead of {expected}; {REMEDY}.")
    try:
        return np.memmap(path, dtype=dtype, mode="r")
    except (OSError, ValueError) as error:
        raise TinyLLMError(f"Cannot read {path}: {error}; {REMEDY}.") from None
