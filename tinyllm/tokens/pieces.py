"""Where a text can be cut so that its parts have the tokens of the whole.

GPT-2's pattern never puts what comes after a letter, digit or mark into one token with white space
that follows, so a text may be cut in front of white space; and, if there is none for long, between
a word and most marks.
"""

import re
from collections.abc import Iterable, Iterator

# characters of a piece at least, and before it is cut wherever it is
PIECE = 1 << 16
_LONGEST = 2 * PIECE
# Unicode's White_Space, spelled out since Python's \s holds four more
_SPACE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
# an apostrophe may begin a token that ends in letters
_MARKS = '.,;:!?()"\u201c\u201d\u3001\u3002\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f'
_BEFORE_SPACE = re.compile(f"(?<=[^{_SPACE}])(?=[{_SPACE}])")
_BEFORE_MARK = re.compile(rf"(?<=[^\W_])(?=[{_MARKS}])")
# a word with all around it, and all white space before it
CHUNK = re.compile(f"[{_SPACE}]*[^{_SPACE}]+|[{_SPACE}]+")
# about what GPT-2's pattern takes for a word
WORD = re.compile(f" ?[^{_SPACE}{_MARKS}'0-9_\\-]+")


def pieces(texts: Iterable[str]) -> Iterator[str]:
    """The texts as one, in pieces of about `PIECE` characters.

    Where they end depends on the whole only, and not on how it is divided into texts.
    """
    rest = ""
    for text in texts:
        rest += text
        begin = 0
        while len(rest) - begin > _LONGEST:
            end = _end_of_piece(rest, begin)
            yield rest[begin:end]
            begin = end
        rest = rest[begin:]
    if rest:
        yield rest


def _end_of_piece(text: str, begin: int) -> int:
    first, last = begin + PIECE, begin + _LONGEST
    for pattern in (_BEFORE_SPACE, _BEFORE_MARK):
        if found := pattern.search(text, first, last):
            return found.start()
    return last
