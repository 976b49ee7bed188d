"""docs/reliability.md, of which each program of the campaign writes its own section."""

import re
from collections.abc import Mapping, Sequence

from tests.campaign.case import Case, Mechanism
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "reliability.md"
_INTRODUCTION = """\
# Reliability

What was done to the program, and whether it held. The programs named here wrote the sections; each
line can be repeated by one command.
"""
_SECTIONS = ("Cases", "Kills", "Hostile bytes")


def write_section(name: str, text: str) -> None:
    """Replace one of the sections; the others stay as they are."""
    known = _read_sections()
    known[name] = text.strip()
    parts = [f"## {one}\n\n{known[one]}\n" for one in _SECTIONS if one in known]
    PAGE.write_text("\n".join((_INTRODUCTION, *parts)), encoding="utf-8")


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; bars in the cells are escaped."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def section_of_cases(cases: Sequence[Case], faults: Mapping[str, str]) -> str:
    """The section of the cases, by mechanism."""
    holding = sum(not faults[one.name] for one in cases)
    head = (
        f"`python -m tests.campaign --write`: {holding} of {len(cases)} cases hold. Each is run on "
        "the real program, in a process of its own, and fails if it shows a traceback, hangs, or "
        "loses a file. `python -m tests.campaign NAME` repeats one; all are tests."
    )
    parts = [head]
    for mechanism in Mechanism:
        rows = [one for one in cases if one.mechanism is mechanism]
        if rows:
            cells = [
                (f"`{one.name}`", one.given, one.holds, "no" if faults[one.name] else "yes")
                for one in rows
            ]
            title = f"### {mechanism.value}"
            parts.append(f"{title}\n\n{table(('name', 'given', 'must be true', 'is'), cells)}")
    return "\n\n".join(parts)


def _read_sections() -> dict[str, str]:
    if not PAGE.exists():
        return {}
    found = re.split(r"^## (.+)\n", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {name: text.strip() for name, text in zip(found[1::2], found[2::2], strict=True)}


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
