"""Runs the campaign outside of pytest, with a table; see the package."""

import sys
import tempfile
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from tests.campaign.case import Case, Mechanism, all_cases
from tests.campaign.page import section_of_cases, write_section
from tests.campaign.world import World
from tests.project import make_project


@click.command()
@click.argument("names", nargs=-1)
@click.option("--mechanism", type=click.Choice([m.name.lower() for m in Mechanism]))
@click.option(
    "--made", type=click.Path(path_type=Path), help="A reduced project that ran, to reuse."
)
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
        write_section("Cases", section_of_cases(chosen, dict(faults)))
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


if __name__ == "__main__":
    main()
