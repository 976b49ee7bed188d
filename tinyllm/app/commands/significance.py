"""`tinyllm significance`."""

import json

import click

from tinyllm.app.config import TrackingConfig
from tinyllm.base.command import Command


@click.command(cls=Command)
@click.argument("first")
@click.argument("second")
@click.option("--experiment", default=TrackingConfig().experiment, show_default=True)
@click.option("--metric", default="test_bits_per_character", show_default=True, help="A loss.")
@click.option("--json", "as_json", is_flag=True, help="Everything, for programs.")
def significance(first: str, second: str, experiment: str, metric: str, *, as_json: bool) -> None:
    """Tell whether one run is better than another beyond the noise of the seeds.

    FIRST and SECOND are names of runs, or the first characters of their ids ('tinyllm runs').
    Each stands for all runs that differ from it only in the seed; 'tinyllm repeat' makes such runs.
    The means are compared by Welch's t-test.
    """
    from tinyllm.app.experiments.noise import Spread, judge_difference
    from tinyllm.app.tracking.repeats import find_repeats

    groups = [find_repeats(experiment, text, metric) for text in (first, second)]
    values = [[run.metrics[metric] for run in group] for group in groups]
    verdict = judge_difference(values[0], values[1])
    spreads = [Spread(tuple(of)) for of in values]
    if as_json:
        report = {
            "metric": metric,
            "groups": [
                {**spread.to_dict(), "run_ids": [run.run_id for run in group]}
                for spread, group in zip(spreads, groups, strict=True)
            ],
            "verdict": verdict.to_dict(),
        }
        click.echo(json.dumps(report, indent=2))
        return
    for letter, text, spread in zip("AB", (first, second), spreads, strict=True):
        click.echo(f"{letter}  {spread}  {text}")
    click.secho(verdict.statement, bold=True)
