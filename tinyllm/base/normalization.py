"""Unicode normalization (Unicode Standard Annex 15) in a fraction of unicodedata's time.

Most characters of most texts stay as they are. A character that does, and that nothing before it
joins with, is a boundary: what lies between two of them is normalized alone, and the rest is not
touched.
"""

import functools
import sys
import unicodedata
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyllm.base.code_points import code_points

# below this code point nothing changes
_LOWEST = {"NFC": 0x300}
_ASCII = 0x80
# what is known of a code point: nothing yet, that it is a boundary, that it is none, that it is a
# combining mark
_UNKNOWN, _BOUNDARY, _CHANGES, _MARK = range(4)
# longer runs of combining marks take unicodedata quadratic time; no language has them
_LONG_RUN = 64
_Places = NDArray[np.intp]


def normalize(form: str, text: str) -> str:
    """What `unicodedata.normalize` returns, in linear time also for runs of combining marks.

    Args:
        form: NFC, NFD, NFKC or NFKD.
        text: any text.
    """
    lowest, codes = _LOWEST.get(form, _ASCII), code_points(text)
    if codes.max(initial=0) < lowest:
        return text
    places = np.flatnonzero(codes >= lowest)
    kinds = _kinds(form, codes[places])
    places, kinds = places[kinds != _BOUNDARY], kinds[kinds != _BOUNDARY]
    if not len(places):
        return text
    begins, ends = _runs(places[kinds == _MARK])
    if (is_long := ends - begins > _LONG_RUN).any():
        text = _replace(text, begins[is_long], ends[is_long], _in_canonical_order)
        return _normalized(form, text)
    begins, ends = _runs(places)
    # what a run changes, or joins with, is in it or is the character before it
    return _replace(text, np.maximum(begins - 1, 0), ends, functools.partial(_brief, form))


@functools.cache
def joins_previous(character: str) -> bool:
    """Whether normalization, in some form, may join a character with the one before it."""
    if character < "\u0300":
        return False
    first = unicodedata.normalize("NFKD", character)[0]
    return bool(unicodedata.combining(first)) or first in _second_parts()


def _kinds(form: str, codes: NDArray[Any]) -> NDArray[np.uint8]:
    """The kind of each code point."""
    table = _table(form)
    for code in set(codes[table[codes] == _UNKNOWN].tolist()):
        table[code] = _kind(form, chr(code))
    kinds: NDArray[np.uint8] = table[codes]
    return kinds


@functools.cache
def _table(_form: str) -> NDArray[np.uint8]:
    return np.full(sys.maxunicode + 1, _UNKNOWN, dtype=np.uint8)


def _kind(form: str, character: str) -> int:
    if unicodedata.combining(_normalized("NFD", character)[0]):
        return _MARK
    stays = _normalized(form, character) == character
    return _BOUNDARY if stays and not joins_previous(character) else _CHANGES


def _runs(places: _Places) -> tuple[_Places, _Places]:
    """Where runs of neighboring places begin, and the places behind their ends."""
    begins = np.diff(places, prepend=-2) > 1
    ends = np.diff(places, append=sys.maxsize) > 1
    return places[begins], places[ends] + 1


def _replace(text: str, begins: _Places, ends: _Places, change: Callable[[str], str]) -> str:
    parts, done = [], 0
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        parts += [text[done:begin], change(text[begin:end])]
        done = end
    return "".join([*parts, text[done:]])


def _brief(form: str, text: str) -> str:
    return _cached(form, text) if len(text) <= _LONG_RUN else _normalized(form, text)


@functools.lru_cache(1 << 14)
def _cached(form: str, text: str) -> str:
    return _normalized(form, text)


def _normalized(form: str, text: str) -> str:
    return unicodedata.normalize(form, text)  # type: ignore[arg-type]  # mypy wants literals


def _in_canonical_order(marks: str) -> str:
    decomposed = "".join(_normalized("NFD", mark) for mark in marks)
    return "".join(sorted(decomposed, key=unicodedata.combining))


@functools.cache
def _second_parts() -> frozenset[str]:
    """Characters that are no marks, but that composition joins with the one before.

    These are vowels and final consonants of Korean, which compose by rule, and whatever is second
    in a canonical decomposition.
    """
    found = {*map(chr, range(0x1161, 0x1176)), *map(chr, range(0x11A8, 0x11C3))}
    for code in range(0x300, sys.maxunicode + 1):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            found.add(chr(int(parts[1], 16)))
    return frozenset(found)
