"""`tinyllm report`."""

import functools
import sys
from pathlib import Path

import click

from tinyllm.base.command import Command


@click.command(cls=Command)
@click.option("--base", default="HEAD~1", show_default=True, help="Revision to compare with.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="File to write.")
@click.option("--verify/--no-verify", "verified", default=True, help="Retrain in a clean clone.")
def report(base: str, out: Path | None, *, verified: bool) -> None:
    """Write the report on a change in Markdown, as a pull request shows it.

    Compares the working tree with a base revision: whether the test loss is better beyond the
    noise, metrics, parameters, curves and samples; and retrains to check that dvc.lock is
    reproduced. Exit code 1: it is not.
    """
    from tinyllm.app.reporting.markdown import REPORT, write_report
    from tinyllm.app.reporting.repeats import repeated_losses
    from tinyllm.app.reporting.revision import Revision, find_revision
    from tinyllm.app.verification.rebuild import run_pipeline
    from tinyllm.app.verification.verify import verify
    from tinyllm.base.outs import check_places
    from tinyllm.base.replacing import write_out

    if out is not None:
        check_places({"--out": (out, REPORT)})
    root = Path.cwd()
    other = find_revision(root, base)
    tell = functools.partial(click.echo, err=True)
    found = verify(root, functools.partial(run_pipeline, tell=tell)) if verified else None
    text = write_report(other, Revision(root), found, repeated_losses(other))
    if out is None:
        click.echo(text, nl=False)
    else:
        write_out(out, text.encode(), REPORT)
    sys.exit(0 if found is None or found.reproduced else 1)
