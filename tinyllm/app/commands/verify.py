"""`tinyllm verify`."""

import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinyllm.base.command import Command

if TYPE_CHECKING:
    from tinyllm.app.verification.verify import Verification


@click.command(cls=Command)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def verify(as_json: bool) -> None:
    """Run the pipeline again in a clean clone and compare every out with dvc.lock.

    The clone holds the commit and the uncommitted changes, and neither cache nor outs. If
    something differs, the report names the first stage, the file, the tensor and the training
    step, and what has changed since dvc.lock was written.

    In mode 'fast', and on machines that cannot be portable, data and tokens must have the same
    bytes, and the losses must agree within the noise of the seeds. Exit code 0: reproduced, in
    bytes or statistically; 1: not.
    """
    from tinyllm.app.verification.compare import as_json as to_json
    from tinyllm.app.verification.rebuild import run_pipeline
    from tinyllm.app.verification.verify import verify as run

    tell = functools.partial(click.echo, err=True)
    tell("Running the pipeline in a clean clone; this takes as long as it took at first.")
    report = run(Path.cwd(), functools.partial(run_pipeline, tell=tell))
    if as_json:
        click.echo(to_json(report.to_dict()))
    else:
        _show(report)
    sys.exit(0 if report.reproduced else 1)


def _show(report: "Verification") -> None:
    for line in report.changed:
        click.echo(f"changed since dvc.lock: {line}")
    for line in report.differences:
        click.echo(f"differs: {line}")
    if report.first_step is not None:
        click.echo(f"training differs from step {report.first_step} on")
    if report.original_environment:
        for key, value in report.environment.items():
            here = report.original_environment.get(key)
            click.echo(f"  {key}: {here} at first, {value} now")
    for line in report.drifted:
        click.echo(f"other bytes, as fast arithmetic writes them: {line}")
    for figure in report.figures:
        click.echo(f"figure: {figure}")
    word, found = {
        "same bytes": ("Reproduced", ", same bytes"),
        "statistically the same": ("Statistically the same", ""),
        "different": ("NOT reproduced", ""),
    }[report.verdict]
    if report.drifted:
        found = f", {report.outs - len(report.drifted)} with the same bytes"
    click.secho(f"{word}: {report.outs} outs of dvc.lock compared{found}.", bold=True)
