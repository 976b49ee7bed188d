"""Choices, values and changed files out of the bytes of an input."""

import copy
import json
from collections.abc import Sequence
from typing import Any, TypeVar

Item = TypeVar("Item")

# what a reader of JSON, YAML or flags seldom expects
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 255, 256, 2**31, 2**63, -(2**63), 2**64, 10**30, 0.0, -0.0,
    0.5, 1e-308, 1e308, float("nan"), float("inf"), float("-inf"), "", " ", "0", "-1", "1e3", "nan",
    "\0", "\ud800", "\n", "\u2028", "a" * 300, "../..", "/", "<unk>", "\N{REPLACEMENT CHARACTER}",
    [], [[]], {}, [None], [1, "a"], {"": None}, {"a": {}}, "float32", "int8", "test", "uint64",
    "qwen3", "[", "]", "[b]", "${x}", "%s", "{}", "\x1b[2J", "object", "U7", "V0",
)  # fmt: skip
_DEEP = 5_000
_MOST_CHANGES = 6


class Draw:
    """Takes an input apart from its beginning; beyond its end are zeros."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def byte(self) -> int:
        """The next byte."""
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def number(self, below: int) -> int:
        """A number from 0 to `below` - 1, of as many bytes as that takes."""
        found = 0
        for _ in range(max(1, ((below - 1).bit_length() + 7) // 8)):
            found = found << 8 | self.byte()
        return found % max(1, below)

    def choose(self, items: Sequence[Item]) -> Item:
        """One of some."""
        return items[self.number(len(items))]

    def piece(self) -> bytes:
        """As many bytes as the next byte says."""
        length = self.byte()
        found = self._data[self._at : self._at + length]
        self._at += length
        return found

    def rest(self) -> bytes:
        """All bytes that are left."""
        found = self._data[self._at :]
        self._at = len(self._data)
        return found

    def more(self) -> bool:
        """Whether any byte is left."""
        return self._at < len(self._data)

    def word(self) -> str:
        """A short text, of whatever the command line lets through."""
        return self.piece().decode("utf-8", "surrogateescape")

    def text(self) -> str:
        """The rest as text, of whatever the command line lets through."""
        return self.rest().decode("utf-8", "surrogateescape")

    def value(self) -> Any:
        """A value as JSON has them."""
        kind = self.number(len(VALUES) + 3)
        if kind < len(VALUES):
            return copy.deepcopy(VALUES[kind])
        if kind == len(VALUES):
            return self.word()
        if kind == len(VALUES) + 1:
            return self.number(2**64) - 2**63
        return [self.value() for _ in range(self.byte() % 4)]


def changed_bytes(good: bytes, draw: Draw) -> bytes:
    """A file with some bytes overwritten, inserted, cut out or cut off."""
    data = good
    for _ in range(_MOST_CHANGES):
        if not draw.more():
            break
        kind = draw.byte() % 8
        # headers are at the beginning
        reach = min(len(data), 256) if kind & 1 else len(data)
        at = draw.number(reach + 1)
        if kind < 4:
            piece = draw.piece()
            data = data[:at] + piece + data[at + len(piece) :]
        elif kind == 4:
            data = data[:at]
        elif kind == 5:
            data = data[:at] + draw.piece() + data[at:]
        elif kind == 6:
            data = data[:at] + data[at + 1 + draw.number(256) :]
        else:
            data = data[:at] + draw.number(2**64).to_bytes(8, "little") + data[at + 8 :]
    return data


def changed_json(good: Any, draw: Draw) -> bytes:
    """A document with some values replaced, taken out, added or nested; or bytes changed."""
    form = draw.byte() % 8
    if form == 0:
        return draw.rest()
    if form == 1:
        return changed_bytes(json.dumps(good).encode(), draw)
    if form == 2:
        return b"[" * _DEEP + b"]" * (_DEEP if draw.byte() & 1 else 0)
    document = [copy.deepcopy(good)]
    for _ in range(1 + draw.byte() % _MOST_CHANGES):
        _change(document, draw)
    return json.dumps(document[0] if document else None).encode("utf-8", "surrogatepass")


def _change(document: list[Any], draw: Draw) -> None:
    holder, key = draw.choose(_places(document))
    kind = draw.byte() % 8
    if kind < 5:
        holder[key] = draw.value()
    elif kind == 5:
        del holder[key]
    elif kind == 6:
        holder[key] = [holder[key]]
    elif isinstance(holder[key], dict):
        holder[key][draw.word()] = draw.value()
    elif isinstance(holder[key], list):
        holder[key] = holder[key] * 2 + [draw.value()]
    else:
        holder[key] = str(holder[key])


def _places(node: Any) -> list[tuple[Any, Any]]:
    """Every value below a node, as what holds it and under which key."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    found: list[tuple[Any, Any]] = []
    for key, value in items:
        found.append((node, key))
        if isinstance(value, dict | list):
            found += _places(value)
    return found or [([None], 0)]
