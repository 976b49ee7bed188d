"""Cleaning of dramatic text: newlines, Unicode, stage directions, headings, blank lines."""

import re

from tinyllm.base.text import normalize
from tinyllm.corpus.config import PrepareConfig

# each pattern takes linear time: blanks are read once, from the first of them, and not given back
_DIRECTION_IN_BRACKETS = re.compile(r"(?<![ \t])[ \t]*+\[[^\[\]]*+\]")
_DIRECTION_LINE = re.compile(
    r"^[ \t]*(?:Enter|Re-enter|Exit|Exeunt|Manet|Flourish|Alarum|Sennet)\b[^\n]*\.[ \t]*$",
    re.MULTILINE,
)
_HEADING_LINE = re.compile(
    r"^[ \t]*(?:ACT|SCENE|Act|Scene|PROLOGUE|EPILOGUE)\b(?![^\n]*:[ \t]*$)[^\n]*$", re.MULTILINE
)
# titles may go on in the next line
_GUTENBERG = re.compile(
    r"\*{3}[ \t]*(START|END) OF TH(?:E|IS) PROJECT GUTENBERG(?:[^*]{0,300}\*{3}|[^\r\n]*)",
    re.IGNORECASE,
)
_LICENCE = "project gutenberg license"
_BLANK_RUN = re.compile(r"\n(?:[ \t]*\n){2,}")


def clean_text(text: str, config: PrepareConfig) -> str:
    """Apply the configured cleaning steps, in this order.

    Newlines first (the other steps look for LF), then Unicode normalization, then removal of
    Project Gutenberg's additions, stage directions and headings, then runs of blank lines, which
    removal leaves behind.
    """
    if config.normalize_newlines:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if config.unicode_form != "none":
        text = normalize(config.unicode_form, text)
    if config.strip_gutenberg:
        text = strip_gutenberg(text)
    if config.strip_stage_directions:
        text = _DIRECTION_LINE.sub("", _DIRECTION_IN_BRACKETS.sub("", text))
    if config.strip_headings:
        text = _HEADING_LINE.sub("", text)
    if config.collapse_blank_lines:
        text = _BLANK_RUN.sub("\n\n", text).lstrip("\n")
    return text


def strip_gutenberg(text: str) -> str:
    """The books alone, without the header and licence that Project Gutenberg puts around them."""
    parts: list[str] = []
    begin: int | None = 0
    for mark in _GUTENBERG.finditer(text):
        if mark[1].upper() == "START":
            begin = mark.end()
        elif begin is not None:
            parts.append(text[begin : mark.start()])
            begin = None
    return "".join(parts if begin is None else [*parts, text[begin:]])


def has_gutenberg(text: str) -> bool:
    """Whether Project Gutenberg's header or licence is in a text."""
    return _GUTENBERG.search(text) is not None or _LICENCE in text.lower()
