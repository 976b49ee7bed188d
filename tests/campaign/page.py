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


def section_of_fuzz(rows: Sequence[Sequence[str]], asked: int, total: int, faults: int) -> str:
    """The section of hostile bytes, a row for each target."""
    head = (
        f"`python -m tests.campaign.fuzz --executions {asked} --write`: {total:,} executions over "
        f"{len(rows)} parsers, {faults} faults. Each may refuse what it reads with one sentence; "
        "any other exception, ten seconds, or 2 GB of memory would be a fault. Coverage guides the "
        "search. `python -m tests.campaign.fuzz NAME` repeats one line; inputs worth keeping are "
        "in tests/campaign/fuzz/corpus, and every run of the tests tries them."
    )
    return f"{head}\n\n{table(('parser', 'executions', 'places reached', 'faults'), rows)}"


def section_of_kills(rows: Sequence[Sequence[str]], kills: int, seed: int, well: int) -> str:
    """The section of kills, a row for each thing that was killed and each way."""
    head = (
        f"`python -m tests.campaign.kills {kills} --seed {seed} --write`: {well} of {kills} kills "
        "at random moments left everything well. After each one MLflow's store is absent or whole "
        "and no file of the user's is gone or another; the same command, run again, writes the "
        "bytes of an undisturbed run; after every ten, `tinyllm sync` brings to MLflow whatever "
        "the journals hold."
    )
    return f"{head}\n\n{table(('killed', 'how', 'times', 'well'), rows)}"


def _read_sections() -> dict[str, str]:
    if not PAGE.exists():
        return {}
    found = re.split(r"^## (.+)\n", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {name: text.strip() for name, text in zip(found[1::2], found[2::2], strict=True)}


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
