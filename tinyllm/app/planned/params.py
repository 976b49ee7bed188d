"""A params.yaml with a plan: explicit values, what is expected, and why."""

import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tinyllm.app.params import SECTIONS, parse_params
from tinyllm.base.errors import ConfigError, TinyLLMError
from tinyllm.base.files import read_text
from tinyllm.base.outs import OutFile
from tinyllm.base.section import Section

if TYPE_CHECKING:
    from tinyllm.planning.plans import Plan

_BEGINNING = "# Planned by 'tinyllm plan'"
_PERCENTAGES = (
    "Percentages: by how much the loss is expected to be higher with that value, in the same time."
)
PLANNED = OutFile("tinyllm plan", _BEGINNING.encode())
_SECTIONS = ("model", "train", "numerics")
_WIDTH = 96
_LARGEST = 1_000_000
_HEAD = re.compile(r"(?P<name>[a-z]+):")


def write_plan(
    plan: "Plan",
    reasons: Mapping[str, str],
    head: list[str],
    base: Path | None,
    own: Mapping[str, Any],
) -> str:
    """The text of a params.yaml.

    Args:
        plan: its sections `model`, `train` and `numerics`.
        reasons: parameter such as `train.batch_size` -> why it has its value.
        head: paragraphs about what is expected.
        base: a params.yaml whose other sections are kept as they are written, if there is one.
        own: values of other sections that the plan's command was given, by section.
    """
    lines = [line for part in (*head, _PERCENTAGES) for line in textwrap.wrap(part, _WIDTH)]
    parts = [f"{_BEGINNING}:", *(f"# {line}" for line in lines)]
    blocks = _blocks(base) if base else {}
    names = [name for name in SECTIONS if name in (*blocks, *_SECTIONS, *own)]
    for name in names:
        if name in _SECTIONS:
            section = plan.recipe.sections()[name]
            parts += ["", *_lines(name, section, reasons)]
        elif name in own or name not in blocks:
            parts += ["", *_lines(name, own[name], reasons)]
        else:
            parts += ["", blocks[name]]
    text = "\n".join(parts) + "\n"
    _check(text, plan, base, own)
    return text


def _lines(name: str, section: Section, reasons: Mapping[str, str]) -> list[str]:
    """A section with every parameter, and the reasons behind."""
    lines = [f"{name}:"]
    for key, value in section.model_dump().items():
        dumped = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
        # a single value ends with a line of dots
        text = dumped.removesuffix("...\n").strip()
        why = reasons.get(f"{name}.{key}", "")
        line = f"  {key}: {text}"
        lines.append(f"{line:36}# {why}" if why else line)
    return lines


def _blocks(base: Path) -> dict[str, str]:
    """The sections of a file as they are written, with the comments inside."""
    blocks: dict[str, list[str]] = {}
    current: list[str] = []
    for line in read_text(base, _LARGEST, ConfigError).splitlines():
        found = _HEAD.match(line)
        if found:
            current = blocks.setdefault(found["name"], [])
        if found or line[:1] in (" ", "\t", ""):
            current.append(line)
        else:
            # a comment in the first column is about what follows, and may not fit any longer
            current = current if line.startswith("-") else []
    return {name: "\n".join(lines).rstrip() for name, lines in blocks.items()}


def _check(text: str, plan: "Plan", base: Path | None, own: Mapping[str, Section]) -> None:
    """Check that the text says what it must.

    Raises:
        TinyLLMError: it does not, since the base is written in a way that cannot be taken apart.
    """
    found = parse_params(text, "the plan")
    wanted = parse_params(read_text(base, _LARGEST, ConfigError), str(base)) if base else {}
    wanted = {**wanted, **plan.recipe.sections(), **own}
    if any(found[name] != section for name, section in wanted.items()):
        raise TinyLLMError(
            f"The sections of {base} cannot be kept as they are written; write each on lines of "
            f"its own, its name in the first column."
        )
