"""`tinyllm compare`."""

import json
from typing import TYPE_CHECKING

import click

from tinyllm.app.config import TrackingConfig
from tinyllm.base.command import Command

if TYPE_CHECKING:
    from rich.table import Table

    from tinyllm.app.tracking.queries import Comparison

_PLACES = ("1", "2", "4", "8", "16", "32", "64", "128", "256", "512", "1024")


@click.command(cls=Command)
@click.argument("first")
@click.argument("second")
@click.option("--experiment", default=TrackingConfig().experiment, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Everything, for programs.")
def compare(first: str, second: str, experiment: str, *, as_json: bool) -> None:
    """Show two runs side by side: what differs in parameters and metrics, and their samples.

    FIRST and SECOND are names of runs, or the first characters of their ids ('tinyllm runs').
    """
    from tinyllm.app.tracking.queries import compare_runs, find_run

    comparison = compare_runs(find_run(experiment, first), find_run(experiment, second))
    if as_json:
        click.echo(json.dumps(comparison.to_dict(), indent=2))
    else:
        _show(comparison)


def _show(comparison: "Comparison") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    names = [f"{run.name} ({run.run_id[:8]})" for run in comparison.runs]
    params = _table("parameter", names)
    for name, pair in comparison.params.items():
        params.add_row(name, *(value or "" for value in pair))
    metrics = _table("metric", [*names, "difference"])
    # measurements of the exports on some machine are for --json
    shown = {k: pair for k, pair in comparison.metrics.items() if not k.startswith("export/")}
    for name, (one, other) in shown.items():
        difference = f"{other - one:+.6g}" if one is not None and other is not None else ""
        metrics.add_row(name, _number(one), _number(other), difference)
    positions = _table("bits by characters of context", names)
    for place in _PLACES:
        if place in comparison.positions:
            positions.add_row(place, *(_number(value) for value in comparison.positions[place]))
    samples = Table(*names, title="samples", expand=True)
    samples.add_row(*(Text(text) for text in comparison.samples))
    for table in (params, metrics, positions, samples):
        if table.row_count:
            console.print(table)


def _table(first: str, names: list[str]) -> "Table":
    from rich.table import Table

    table = Table()
    for name in (first, *names):
        table.add_column(name, no_wrap=name == first)
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
