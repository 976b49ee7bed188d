"""The encoding of bytes: certain, likely enough, or refused; never a guess in silence."""

import codecs
from typing import Any

from tinyllm.base.errors import TinyLLMError

# the longer marks first: one begins with the other
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# found by trying texts in six languages: beyond this mess, the first is often wrong
_MESSIEST = 0.05
# and within this distance, so is any of them
_CLOSE = 0.03
# so is one that differs in less than this share of what is beyond ASCII
_TWINS = 0.15
# with fewer different bytes beyond ASCII there is nothing to tell encodings apart by
_FEWEST = 5
_ASCII = bytes(range(128))
# bytes by which a file of any size is judged
SAMPLE = 1 << 24


def detect_encoding(shown: str, data: bytes, *, whole: bool = True) -> str:
    """The encoding of a file.

    A byte order mark and valid UTF-8 are certain. Everything else is judged by charset-normalizer,
    and refused if another encoding that gives another text would do nearly as well.

    Args:
        shown: the file, for the message.
        data: its bytes, or the first `SAMPLE` of them.
        whole: whether that is all of it.

    Raises:
        TinyLLMError: there is no plausible encoding, or more than one.
    """
    for mark, name in _MARKS:
        if data.startswith(mark):
            return name
    if not whole:
        # what is cut may be half a character: in no encoding does one go on behind a line feed
        data = data[: data.rfind(b"\n") + 1] or data
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data, final=whole)
    except UnicodeDecodeError:
        return _judge(shown, data)
    return "utf-8"


def _judge(shown: str, data: bytes) -> str:
    from charset_normalizer import from_bytes  # noqa: PLC0415 - as slow as all other imports

    found = list(from_bytes(data))
    if not found:
        raise TinyLLMError(
            f"The encoding of {shown} could not be detected; set prepare.encoding to its name."
        )
    best, *others = found
    rivals = [
        other
        for other in others
        if _score(other) > _score(best) - _CLOSE
        or (other.chaos <= _MESSIEST and _difference(str(best), str(other)) < _TWINS)
    ]
    multibyte = len(str(best)) < len(data) * 0.75
    if rivals or best.chaos > _MESSIEST or not (multibyte or _is_telling(data)):
        names = ", ".join(dict.fromkeys(one.encoding for one in (best, *(rivals or others)[:3])))
        raise TinyLLMError(
            f"The encoding of {shown} is doubtful: it may be {names}, or another; set "
            f"prepare.encoding to its name, or convert the file to UTF-8."
        )
    return str(best.encoding)


def _score(match: Any) -> float:
    """Likeness to a language, less the share of what no language writes, which counts twice."""
    return float(match.coherence) - 2 * float(match.chaos)


def _difference(one: str, other: str) -> float:
    """The share of characters beyond ASCII in which two readings differ."""
    beyond = sum(not character.isascii() for character in one)
    if len(one) != len(other) or not beyond:
        return 1.0
    return sum(a != b for a, b in zip(one, other, strict=True)) / beyond


def _is_telling(data: bytes) -> bool:
    """Whether there are enough different bytes beyond ASCII to tell encodings apart."""
    return len(set(data.translate(None, _ASCII))) >= _FEWEST
