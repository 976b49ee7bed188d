"""`tinyllm site`."""

from pathlib import Path

import click

from tinyllm.app.tracking.setting import tracking_config
from tinyllm.base.command import WorkCommand


@click.command(cls=WorkCommand)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("site/runs"),
    show_default=True,
    help="Folder to write; one that this command wrote before is replaced.",
)
@click.option(
    "--experiment",
    default=lambda: tracking_config().experiment,
    help="Experiment whose runs to show.  [default: tracking.experiment]",
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=200,
    show_default=True,
    help="How many runs to show, the best ones.",
)
def site(out: Path, experiment: str, limit: int) -> None:
    r"""Write runs, curves, reports and models as pages for any web space, or for no server at all.

    The folder holds plain HTML that needs neither a network nor a server: open its index.html, or
    copy it to a web space. It shows the runs in MLflow, the best first, with their curves, texts
    and origin; compares those that you choose; and has the registered models with their cards, the
    pictures of reports/ and the playground of models/export, where there are any.

    \b
    tinyllm site
    tinyllm site --out public/models --limit 50
    """
    from tinyllm.app.site.gather import gather
    from tinyllm.app.site.write import SITE, write_site
    from tinyllm.base.outs import check_places

    check_places({"--out": (out, SITE)})
    found = gather(experiment, limit)
    pages = write_site(found, Path.cwd(), out)
    of_all = f" of {found.total}" if found.total > len(found.runs) else ""
    click.echo(
        f"{out / 'index.html'}: {len(found.runs)}{of_all} runs of {found.experiment}, {pages} pages"
    )
