"""Cleaning of dramatic text: newlines, Unicode, stage directions, headings, blank lines."""

import re
import unicodedata

from tinyllm.corpus.config import PrepareConfig

_DIRECTION_IN_BRACKETS = re.compile(r"[ \t]*\[[^\[\]]*\]")
_DIRECTION_LINE = re.compile(
    r"^[ \t]*(?:Enter|Re-enter|Exit|Exeunt|Manet|Flourish|Alarum|Sennet)\b[^\n]*\.[ \t]*$",
    re.MULTILINE,
)
_HEADING_LINE = re.compile(
    r"^[ \t]*(?:ACT|SCENE|Act|Scene|PROLOGUE|EPILOGUE)\b(?![^\n]*:[ \t]*$)[^\n]*$", re.MULTILINE
)
_BLANK_RUN = re.compile(r"\n(?:[ \t]*\n){2,}")


def clean_text(text: str, config: PrepareConfig) -> str:
    """Apply the configured cleaning steps, in this order.

    Newlines first (the other steps look for LF), then Unicode normalization, then removal of
    stage directions and headings, then runs of blank lines, which removal leaves behind.
    """
    if config.normalize_newlines:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if config.unicode_form != "none":
        text = unicodedata.normalize(config.unicode_form, text)
    if config.strip_stage_directions:
        text = _DIRECTION_LINE.sub("", _DIRECTION_IN_BRACKETS.sub("", text))
    if config.strip_headings:
        text = _HEADING_LINE.sub("", text)
    if config.collapse_blank_lines:
        text = _BLANK_RUN.sub("\n\n", text).lstrip("\n")
    return text
