"""Text that others wrote: shown so that it cannot steer a terminal, and normalized in good time."""

import functools
import re
import sys
import unicodedata

# what moves the cursor, rings, colours, turns the writing direction or ends a line: C0, C1, line
# and paragraph separators, bidirectional controls and halves of surrogate pairs
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# longer runs of combining marks take unicodedata quadratic time; no language has them
_LONG_RUN = 64
# from this length on that takes longer than to look for them, so one character in as many is tried
_VERY_LONG_RUN = 1024


def plain(text: str, keep: str = "") -> str:
    r"""Return the text with control characters as escapes such as `\x1b` and `\n`.

    Args:
        text: from anywhere.
        keep: control characters to leave as they are, such as a newline.
    """
    return _CONTROL.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def normalize(form: str, text: str) -> str:
    """What `unicodedata.normalize` returns, in linear time also for runs of combining marks.

    Args:
        form: NFC, NFD, NFKC or NFKD.
        text: any text.
    """
    if text.isascii():
        return text
    if any(_is_long_run(text, place) for place in range(0, len(text), _VERY_LONG_RUN)):
        text = _mark_runs().sub(lambda found: _in_canonical_order(found[0]), text)
    return unicodedata.normalize(form, text)  # type: ignore[arg-type]  # mypy wants literals


def _is_long_run(text: str, place: int) -> bool:
    """Whether many combining marks follow each other at a place."""
    return all(map(_is_mark, text[place : place + _LONG_RUN]))


def _is_mark(character: str) -> bool:
    simple = character < "\u0300"
    return not simple and bool(unicodedata.combining(unicodedata.normalize("NFD", character)[0]))


def _in_canonical_order(marks: str) -> str:
    decomposed = "".join(unicodedata.normalize("NFD", mark) for mark in marks)
    return "".join(sorted(decomposed, key=unicodedata.combining))


@functools.cache
def _mark_runs() -> "re.Pattern[str]":
    """Long runs of what decomposes into combining marks alone."""
    marks = "".join(
        chr(code)
        for code in range(0x300, sys.maxunicode + 1)
        if unicodedata.combining(unicodedata.normalize("NFD", chr(code))[0])
    )
    return re.compile(f"[{re.escape(marks)}]{{{_LONG_RUN},}}")
