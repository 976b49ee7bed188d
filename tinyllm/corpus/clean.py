"""Cleaning of text: newlines, Unicode, stage directions, headings, blank lines.

Everything that is removed has a limited length, so that a text of any size can be cleaned piece by
piece (see `tinyllm.corpus.cut`).
"""

import re
from collections.abc import Iterable, Iterator

import numpy as np

from tinyllm.base.code_points import code_points
from tinyllm.base.normalization import normalize
from tinyllm.corpus.config import PrepareConfig
from tinyllm.corpus.cut import PIECE, begins_anew, begins_text, pieces

# characters of a stage direction in brackets, and of a line behind its first word
_LONGEST_BRACKET, _LONGEST_LINE = 2000, 10_000
# characters of a line before its first word, and how that begins in a line that is removed
_LONGEST_INDENT, _REMOVABLE = 200, frozenset("ERMFASP")

# each pattern takes linear time: blanks are read once, from the first of them, and not given back
_DIRECTION_IN_BRACKETS = re.compile(rf"(?<![ \t])[ \t]*+\[[^\[\]]{{0,{_LONGEST_BRACKET - 2}}}+\]")
_INDENT, _SHORT = rf"[ \t]{{0,{_LONGEST_INDENT}}}", rf"(?=[^\n]{{0,{_LONGEST_LINE}}}$)"
_DIRECTION_LINE = re.compile(
    rf"^{_INDENT}(?:Enter|Re-enter|Exit|Exeunt|Manet|Flourish|Alarum|Sennet)\b{_SHORT}"
    r"[^\n]*\.[ \t]*$",
    re.MULTILINE,
)
_HEADING_LINE = re.compile(
    rf"^{_INDENT}(?:ACT|SCENE|Act|Scene|PROLOGUE|EPILOGUE)\b{_SHORT}(?![^\n]*:[ \t]*$)[^\n]*$",
    re.MULTILINE,
)
# titles may go on in the next line
_GUTENBERG = re.compile(
    r"\*{3}[ \t]{0,99}(START|END) OF TH(?:E|IS) PROJECT GUTENBERG"
    r"(?:[^*]{0,300}\*{3}|[^\r\n]{0,300})",
    re.IGNORECASE,
)
# characters of such a mark, and of the header before the first one
_LONGEST_MARK, _LONGEST_HEADER = 500, 1 << 16
_LICENCE = "project gutenberg license"
_BLANK_RUN = re.compile(r"\n(?:[ \t]*\n){2,}")


def clean_stream(chunks: Iterable[str], config: PrepareConfig, size: int = PIECE) -> Iterator[str]:
    """Apply the configured cleaning steps to a text of any size.

    Newlines first (the other steps look for LF), then Unicode normalization, then removal of
    Project Gutenberg's additions, stage directions and headings, then runs of blank lines, which
    removal leaves behind.

    Args:
        chunks: the text, in chunks of any size.
        config: the steps.
        size: characters that are cleaned at once; changes no character of the result.

    Yields:
        The clean text, in chunks.
    """
    removes = config.strip_stage_directions or config.strip_headings
    if not (removes or config.strip_gutenberg):
        # a place for every step at once
        for piece in pieces(chunks, begins_text, size):
            yield _without_lines(_normalized(piece, config), config)
        return
    text: Iterator[str] = (
        _normalized(piece, config) for piece in pieces(chunks, begins_anew, size)
    )
    if config.strip_gutenberg:
        text = strip_gutenberg(text)
    if config.strip_stage_directions:
        text = (_DIRECTION_IN_BRACKETS.sub("", piece) for piece in pieces(text, _is_outside, size))
    for piece in pieces(text, _stays if removes else begins_text, size):
        yield _without_lines(piece, config)


def clean_text(text: str, config: PrepareConfig) -> str:
    """Apply the configured cleaning steps to a whole text; see `clean_stream`."""
    return "".join(clean_stream([text], config, max(len(text), 1)))


def _normalized(text: str, config: PrepareConfig) -> str:
    if config.normalize_newlines and "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text if config.unicode_form == "none" else normalize(config.unicode_form, text)


def _without_lines(text: str, config: PrepareConfig) -> str:
    """The text without lines of stage directions, headings, and runs of blank lines."""
    if config.strip_stage_directions:
        text = _DIRECTION_LINE.sub("", text)
    if config.strip_headings:
        text = _HEADING_LINE.sub("", text)
    if config.collapse_blank_lines:
        text = _without_blank_runs(text).lstrip("\n")
    return text


def _without_blank_runs(text: str) -> str:
    """The text with one blank line for several, in a fifth of the pattern's time if it has few."""
    codes = code_points(text)
    breaks, blanks = codes == ord("\n"), (codes == ord(" ")) | (codes == ord("\t"))
    begins = breaks[:-2] & (blanks[1:-1] | (breaks[1:-1] & (breaks[2:] | blanks[2:])))
    places = np.flatnonzero(begins).tolist()
    if len(places) > len(text) // 100:
        return _BLANK_RUN.sub("\n\n", text)
    parts, end = [], 0
    for place in places:
        if place >= end and (run := _BLANK_RUN.match(text, place)):
            parts += [text[end:place], "\n\n"]
            end = run.end()
    return "".join([*parts, text[end:]])


def _is_outside(text: str, place: int) -> bool:
    """Whether no brackets, nor the blanks before them, reach across a place."""
    before = text[max(0, place - _LONGEST_BRACKET) : place]
    return text[place] not in " \t[" and before.rfind("[") <= before.rfind("]")


def _stays(text: str, place: int) -> bool:
    """Whether no line that is removed, nor blank lines, reach across a place or begin there."""
    if text[place] in _REMOVABLE or text[place] in " \t\n":
        return False
    lowest = max(0, place - _LONGEST_LINE - 2 * _LONGEST_INDENT)
    line = text.rfind("\n", lowest, place) + 1 or lowest
    # of a line that is too long to be removed, any place will do
    return (line == lowest > 0) or (text[line] not in _REMOVABLE and text[line] not in " \t")


def strip_gutenberg(chunks: Iterable[str]) -> Iterator[str]:
    """The books alone, without the header and licence that Project Gutenberg puts around them.

    Args:
        chunks: the text, in chunks of any size.

    Yields:
        What stays of it, in chunks.
    """
    text, state = "", "header"
    for chunk, is_last in _with_last(chunks):
        text += chunk
        # a mark that begins behind this may go on in the next chunk
        sure = len(text) if is_last else len(text) - _LONGEST_MARK
        begin = 0
        for mark in _GUTENBERG.finditer(text):
            if mark.start() >= sure:
                break
            begins = mark[1].upper() == "START"
            is_header = state == "header" and begins and mark.start() <= _LONGEST_HEADER
            if state != "outside" and not is_header:
                yield text[begin : mark.start()]
            state, begin = "inside" if begins else "outside", mark.end()
        if state == "header" and not is_last and sure <= _LONGEST_HEADER:
            continue
        end = max(sure, begin)
        if state != "outside":
            yield text[begin:end]
            state = "inside"
        text = text[end:]


def _with_last(chunks: Iterable[str]) -> Iterator[tuple[str, bool]]:
    for chunk in chunks:
        yield chunk, False
    yield "", True


def has_gutenberg(text: str) -> bool:
    """Whether Project Gutenberg's header or licence is in a text."""
    return _GUTENBERG.search(text) is not None or _LICENCE in text.lower()
