"""Runs the campaign outside of pytest, with a table; see the package."""

import sys
import tempfile
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from tests.campaign.case import Case, Mechanism, all_cases
from tests.campaign.world import World
from tests.conftest import ROOT
from tests.project import make_project

PAGE = ROOT / "docs" / "reliability.md"


@click.command()
@click.argument("names", nargs=-1)
@click.option("--mechanism", type=click.Choice([m.name.lower() for m in Mechanism]))
@click.option("--made", type=click.Path(path_type=Path), help="A reduced project that ran, to reuse.")
@click.option("--write", is_flag=True, help="Write docs/reliability.md.")
def main(names: tuple[str, ...], mechanism: str | None, made: Path | None, *, write: bool) -> None:
    """Run the cases NAMES, by default all, and say of each whether it holds."""
    known = all_cases()
    if unknown := [name for name in names if name not in known]:
        raise click.UsageError(f"no case is called {', '.join(unknown)}")
    chosen = [known[name] for name in names] or [
        one for one in known.values() if mechanism in (None, one.mechanism.name.lower())
    ]
    with tempfile.TemporaryDirectory(prefix="campaign-") as folder:
        base = Path(folder)
        if made is None:
            made = base / "made"
            made.mkdir()
            make_project(made)
        elif not made.exists():
            made.mkdir(parents=True)
            make_project(made)
        project = made
        with ThreadPoolExecutor(2) as pool:
            faults = list(pool.map(lambda one: _run(one, base, project), chosen))
    failed = [name for name, fault in faults if fault]
    for name, fault in faults:
        if fault:
            click.echo(f"\n--- {name}\n{fault}")
    click.echo(f"{len(chosen) - len(failed)} of {len(chosen)} cases hold")
    if write:
        PAGE.write_text(page(chosen, dict(faults)), encoding="utf-8")
    sys.exit(bool(failed))


def _run(one: Case, base: Path, made: Path) -> tuple[str, str]:
    place = base / one.name
    place.mkdir()
    fault = ""
    try:
        one.check(World(place, lambda: made))
    except Exception:
        fault = traceback.format_exc()
    click.echo(f"{'FAILS' if fault else 'holds'}  {one.name}", err=True)
    return one.name, fault


def page(cases: list[Case], faults: dict[str, str]) -> str:
    """docs/reliability.md."""
    holding = sum(not fault for fault in faults.values())
    lines = [
        "# Reliability",
        "",
        f"`python -m tests.campaign --write` wrote this page: {holding} of {len(cases)} cases hold. "
        "Each is run on the real program, in a process of its own, and fails if it shows a "
        "traceback, hangs, or loses a file. `python -m tests.campaign NAME` repeats one.",
    ]
    for mechanism in Mechanism:
        rows = [one for one in cases if one.mechanism is mechanism]
        if rows:
            lines += ["", f"## {mechanism.value}", "", "| name | given | holds | |", "|---|---|---|---|"]
        for one in rows:
            verdict = "no" if faults[one.name] else "yes"
            cells = (f"`{one.name}`", _cell(one.given), _cell(one.holds), verdict)
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    main()
