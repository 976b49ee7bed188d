"""Where a text may be cut so that its parts, cleaned one by one, make the cleaned text.

Every step of cleaning looks at a few characters at a time: line breaks at two, normalization at a
character and the marks on it, blank lines at a run of them. A place where none of them can reach
across splits a text of any size into pieces that fit into memory, and gives several workers a piece
each.
"""

import unicodedata
from collections.abc import Callable, Iterable, Iterator

from tinyllm.base.normalization import joins_previous

# characters; a piece and what it is turned into stay in the processor's cache, and the memory of
# larger ones falls into fragments
PIECE = 1 << 18
# characters at the end of a text among which a place is looked for first: a line, or any
_NEAR, _NEARER = 1 << 16, 1 << 12

# whether a text can be cut before the character at a place, which is at least 1
IsPlace = Callable[[str, int], bool]


def pieces(chunks: Iterable[str], is_place: IsPlace, size: int = PIECE) -> Iterator[str]:
    """Join a text that comes in chunks of any size, and cut it into pieces of about `size`.

    Where there is no place to cut, as in a run of blank lines of many megabytes, a piece becomes
    larger.
    """
    waiting: list[str] = []
    count, wanted = 0, size
    for chunk in chunks:
        waiting.append(chunk)
        count += len(chunk)
        if count < wanted:
            continue
        text = "".join(waiting)
        if place := find_cut(text, is_place):
            yield text[:place]
            text, wanted = text[place:], size
        else:
            # so that looking again and again does not take quadratic time
            wanted = 2 * count
        waiting, count = [text], len(text)
    if count:
        yield "".join(waiting)


def find_cut(text: str, is_place: IsPlace) -> int:
    """The last place to cut a text, at the beginning of a line if there is one; 0 for none."""
    near, nearer = (max(1, len(text) - count) for count in (_NEAR, _NEARER))
    within_lines = range(len(text) - 1, nearer - 1, -1)
    for places in (_lines(text, near), within_lines, _lines(text[:near], 1)):
        for place in places:
            if is_place(text, place):
                return place
    return 0


def _lines(text: str, lowest: int) -> Iterator[int]:
    """Where lines begin, from the last to the first, which begins at `lowest` or later."""
    end = len(text) - 1
    while (end := text.rfind("\n", lowest - 1, end)) >= 0:
        yield end + 1


def begins_anew(text: str, place: int) -> bool:
    """Whether neither a line break nor normalization reaches across a place."""
    return text[place] != "\n" and not joins_previous(text[place])


def begins_text(text: str, place: int) -> bool:
    """Whether nothing reaches across a place, blank lines included, whatever the normalization."""
    character = text[place]
    # some characters beyond ASCII are normalized to a blank
    first = unicodedata.normalize("NFKD", character)[0] if character > "\x7f" else character
    return first not in " \t\r\n" and begins_anew(text, place)
