"""`tinyllm reproduce`."""

import functools
import sys
from pathlib import Path

import click

from tinyllm.base.command import Command


@click.command(cls=Command)
@click.argument("source")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def reproduce(source: str, as_json: bool) -> None:
    r"""Rebuild a registered model and compare the bytes.

    SOURCE is models:/NAME@ALIAS, models:/NAME/VERSION or a run id. Commit, uncommitted changes
    and parameters come from MLflow; the pipeline runs in a temporary clone. Exit code 0: the
    weights and every registered file are the same; 1: they are not, or something is missing.

    \b
    tinyllm reproduce models:/tinyllm@champion
    """
    from tinyllm.app.verification.compare import as_json as to_json
    from tinyllm.app.verification.rebuild import run_pipeline
    from tinyllm.app.verification.reproduce import reproduce as run

    tell = functools.partial(click.echo, err=True)
    report = run(Path.cwd(), source, functools.partial(run_pipeline, tell=tell))
    if as_json:
        click.echo(to_json(report.to_dict()))
    else:
        changes = " with uncommitted changes" if report.uncommitted else ""
        click.echo(f"Run {report.run_id}, commit {report.commit[:12]}{changes}")
        for line in report.differences:
            click.echo(f"differs: {line}")
        verdict = "Reproduced" if report.reproduced else "NOT reproduced"
        click.secho(f"{verdict}: weights {report.rebuilt_weights}", bold=True)
    sys.exit(0 if report.reproduced else 1)
