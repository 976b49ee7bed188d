"""`tinyllm runs`."""

import json
from typing import TYPE_CHECKING

import click

from tinyllm.app.config import TrackingConfig
from tinyllm.base.command import Command

if TYPE_CHECKING:
    from tinyllm.app.tracking.queries import RunFacts


@click.command(cls=Command)
@click.option("--experiment", default=TrackingConfig().experiment, show_default=True)
@click.option("--filter", "where", default="", help="MLflow's filter; see the example.")
@click.option("--sort", help="Metric to sort by, the least first.  [default: the test loss]")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Everything about each run, for programs.")
def runs(experiment: str, where: str, sort: str | None, limit: int, *, as_json: bool) -> None:
    r"""List the runs in MLflow, the best first, with the parameters in which they differ.

    \b
    tinyllm runs
    tinyllm runs --filter "params.`train.optimizer` = 'adamw'" --sort best_val_loss
    """
    from tinyllm.app.tracking.queries import find_runs

    found = find_runs(experiment, where=where, sort=sort, limit=limit)
    if as_json:
        click.echo(json.dumps([run.to_dict() for run in found], indent=2))
    else:
        _show(found, sort)


def _show(found: "list[RunFacts]", sort: str | None) -> None:
    import datetime as dt

    from tinyllm.app.tables import make_table, show
    from tinyllm.app.tracking.differences import telling

    scores = {sort: sort} if sort else {}
    scores |= {"test_bits_per_character": "bits/char", "val_bits_per_character": "val bits/char"}
    differing = telling([run.params for run in found])
    heads = ["id", "run", "status", "started", *scores.values()]
    heads += [key.partition(".")[2] or key for key in differing]
    rows = []
    for run in found:
        started = dt.datetime.fromtimestamp(run.started, tz=dt.UTC).astimezone()
        figures = [f"{run.metrics[key]:.4f}" if key in run.metrics else "" for key in scores]
        params = [run.params.get(key, "") for key in differing]
        when = started.strftime("%Y-%m-%d %H:%M")
        rows.append([run.run_id[:8], run.name, run.status, when, *figures, *params])
    show(make_table(heads, rows, wrapped=("run",)))
