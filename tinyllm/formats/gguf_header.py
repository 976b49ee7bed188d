"""Checks a GGUF file against its own length, before a reader believes its counts.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import struct
from pathlib import Path
from typing import BinaryIO

from tinyllm.base.errors import TinyLLMError
from tinyllm.base.files import check_regular

_MAGIC, _VERSIONS = b"GGUF", (2, 3)
_STRING, _ARRAY = 8, 9
# bytes of a value, by its type
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_MOST_DIMENSIONS = 4


def check_header(path: Path) -> None:
    """Check that a file is GGUF, and that all that it says to hold fits into it.

    Raises:
        TinyLLMError: it is not, it does not, or the file cannot be read.
    """
    check_regular(path)
    try:
        with path.open("rb") as file:
            _Walk(file, path.stat().st_size).walk()
    except OSError as error:
        raise TinyLLMError(f"Cannot read {path}: {error.strerror or error}.") from None
    except ValueError as error:
        raise TinyLLMError(
            f"{path} is damaged, or not a file that this program wrote: {error}."
        ) from None


class _Walk:
    """Goes through the header; every step is a part of the file, so it ends."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = size

    def walk(self) -> None:
        """Go through all of it.

        Raises:
            ValueError: something is not as it has to be.
        """
        if self._take(4) != _MAGIC or self._number("<I") not in _VERSIONS:
            raise ValueError("it does not begin as one")
        tensors, fields = self._number("<Q"), self._number("<Q")
        for _ in range(fields):
            self._skip_text()
            self._skip_value(self._number("<I"))
        for _ in range(tensors):
            self._skip_text()
            dimensions = self._number("<I")
            if dimensions > _MOST_DIMENSIONS:
                raise ValueError(f"a tensor has {dimensions} dimensions")
            self._take(8 * dimensions + 4)
            if self._number("<Q") > self._left:
                raise ValueError("a tensor lies beyond its end")

    def _skip_value(self, kind: int) -> None:
        if kind == _STRING:
            self._skip_text()
        elif kind != _ARRAY:
            self._take(self._size(kind))
        else:
            inner, count = self._number("<I"), self._number("<Q")
            if inner == _STRING:
                for _ in range(count):
                    self._skip_text()
            else:
                # no program writes arrays of arrays
                self._take(self._size(inner) * count)

    def _skip_text(self) -> None:
        self._take(self._number("<Q"))

    def _number(self, form: str) -> int:
        return int(struct.unpack(form, self._take(struct.calcsize(form)))[0])

    def _take(self, count: int) -> bytes:
        if count > self._left:
            raise ValueError("it ends too early")
        self._left -= count
        return self._file.read(count)

    @staticmethod
    def _size(kind: int) -> int:
        if kind not in _SIZES:
            raise ValueError(f"it holds a value of the unknown type {kind}")
        return _SIZES[kind]
