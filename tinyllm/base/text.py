"""Text that others wrote, shown so that it cannot steer a terminal."""

import re

# what moves the cursor, rings, colours, turns the writing direction or ends a line: C0, C1, line
# and paragraph separators, bidirectional controls and halves of surrogate pairs
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: str, keep: str = "") -> str:
    r"""Return the text with control characters as escapes such as `\x1b` and `\n`.

    Args:
        text: from anywhere.
        keep: control characters to leave as they are, such as a newline.
    """
    return _CONTROL.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
