"""Prompts as people give them: as an argument, on standard input, or many in a file."""

import codecs
import contextlib
import json
import logging
import re
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from tinyllm.base.command import Command
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.text import plain

# everything else that begins with a dash is a text
_OPTION = re.compile(r"-[A-Za-z]|--[A-Za-z][A-Za-z0-9-]*(?:=.*)?", re.DOTALL)
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LARGEST = 1 << 28
_SEEDS = 10**9
_STDIN = "standard input"


class PromptCommand(Command):
    """A command whose argument is a text, which may begin with a dash."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Tell options from texts, then parse."""
        with_value = {
            name
            for option in self.params
            if isinstance(option, click.Option) and not option.is_flag
            for name in option.opts
        }
        try:
            return super().parse_args(ctx, _texts_last(args, with_value))
        except click.NoSuchOption as error:
            raise click.UsageError(
                f"{error.format_message()} (A prompt that looks like an option goes behind two "
                f"dashes: -- {plain(error.option_name)})",
                ctx,
            ) from None


def _texts_last(words: Sequence[str], with_value: set[str]) -> list[str]:
    """The words of a command line with texts that begin with a dash behind `--`."""
    options: list[str] = []
    texts: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            texts += rest
        elif word in with_value:
            options += [word, *([] if (value := next(rest, None)) is None else [value])]
        elif word.startswith("-") and word != "-" and not _OPTION.fullmatch(word):
            texts.append(word)
        else:
            options.append(word)
    return [*options, "--", *texts] if texts else options


def check_prompt(text: str) -> str:
    """Return a prompt from the command line.

    Raises:
        TinyLLMError: its bytes are not UTF-8.
    """
    if _is_broken(text):
        raise TinyLLMError(f"The prompt '{plain(text)[:100]}' is not valid UTF-8.")
    return text


def read_prompt() -> str:
    """All of standard input as one prompt.

    Raises:
        TinyLLMError: it is not UTF-8, or too large.
    """
    with click.open_file("-", "rb") as stream:
        return _decode(_read(stream, _STDIN), _STDIN)


def read_prompts(path: Path) -> list[str]:
    """The prompts of a file, `-` for standard input.

    One per line, or one `{"prompt": ...}` per line in a file whose name ends in `.jsonl`, where
    empty lines do not count. UTF-8, or with a byte order mark also UTF-16 and UTF-32.

    Raises:
        TinyLLMError: it cannot be read or decoded, or a line holds no prompt.
    """
    name = _STDIN if str(path) == "-" else str(path)
    try:
        with click.open_file(str(path), "rb") as file:
            text = _decode(_read(file, name), name)
    except OSError as error:
        raise TinyLLMError(f"Cannot read {plain(name)}: {error.strerror}.") from None
    lines = text.split("\n")
    lines = [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]
    return list(_prompts_of(lines, name)) if path.suffix.lower() == ".jsonl" else lines


def read_lines() -> Iterator[str]:
    """The lines of standard input without their ends.

    Raises:
        TinyLLMError: one is not UTF-8.
    """
    with click.open_file("-", "rb") as stream:
        for number, line in enumerate(stream, start=1):
            text = _decode(line.removesuffix(b"\n").removesuffix(b"\r"), _STDIN, number)
            yield text.removeprefix("\ufeff" if number == 1 else "")


def fresh_seed() -> int:
    """A seed that is easily typed."""
    return secrets.randbelow(_SEEDS)


@contextlib.contextmanager
def warned_once() -> Iterator[None]:
    """Within, the same warning of unknown characters is shown once, not for every batch."""
    shown: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        before = len(shown)
        shown.add(record.getMessage())
        return len(shown) > before

    logger = logging.getLogger("tinyllm.inference.prompt")
    logger.addFilter(is_new)
    try:
        yield
    finally:
        logger.removeFilter(is_new)


def _read(file: Any, name: str) -> bytes:
    data: bytes = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise TinyLLMError(f"{plain(name)} is larger than {_LARGEST >> 20} MB; divide it.")
    return data


def _decode(data: bytes, name: str, first: int = 1) -> str:
    """The text of bytes, of which `first` is the number of the first line."""
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = first + data.count(b"\n", 0, error.start)
        known = "UTF-8" if encoding.startswith("utf-8") else encoding.upper()
        raise TinyLLMError(
            f"{plain(name)}, line {line} is not {known}: byte 0x{data[error.start]:02x} does not "
            f"decode; convert the text to UTF-8, for example with iconv."
        ) from None


def _prompts_of(lines: Sequence[str], name: str) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _prompt_of(line, f"{plain(name)}, line {number}")


def _prompt_of(line: str, place: str) -> str:
    try:
        found: Any = json.loads(line)["prompt"]
    except (ValueError, KeyError, TypeError, RecursionError):
        found = None
    if not isinstance(found, str):
        raise TinyLLMError(f'{place}: expected an object such as {{"prompt": "What news"}}.')
    if _is_broken(found):
        raise TinyLLMError(f"{place}: the prompt holds half of a surrogate pair, which is no text.")
    return found


def _is_broken(text: str) -> bool:
    """Whether there are lone surrogates in a text: what Python makes of bytes that are no text."""
    return re.search("[\ud800-\udfff]", text) is not None
