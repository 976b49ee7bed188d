"""`tinyllm compare`."""

import json
from typing import TYPE_CHECKING

import click

from tinyllm.app.config import TrackingConfig
from tinyllm.base.command import Command

if TYPE_CHECKING:
    from tinyllm.app.tracking.queries import Comparison

# measurements of the exports and of the machine are for --json
_SILENT = ("export/", "system/")
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
    from tinyllm.app.tables import literal, make_table, show

    names = [f"{run.name} ({run.run_id[:8]})" for run in comparison.runs]
    params = [(name, *(value or "" for value in pair)) for name, pair in comparison.params.items()]
    metrics = [
        (name, _number(one), _number(other), _difference(one, other))
        for name, (one, other) in comparison.metrics.items()
        if not name.startswith(_SILENT)
    ]
    positions = [
        (place, *map(_number, comparison.positions[place]))
        for place in _PLACES
        if place in comparison.positions
    ]
    for head, rows, more in (
        ("parameter", params, ()),
        ("metric", metrics, ("difference",)),
        ("bits by tokens of context", positions, ()),
    ):
        if rows:
            heads = (head, *names, *more)
            show(make_table(heads, rows, wrapped=heads[1:], lined=True), cut=True)
    samples = make_table(names, wrapped=names, title="samples", lined=True)
    samples.expand = True
    samples.add_row(*(literal(text, passage=True) for text in comparison.samples))
    show(samples, cut=True)


def _difference(one: float | None, other: float | None) -> str:
    return "" if one is None or other is None else f"{other - one:+.6g}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
