"""`tinyllm promote`."""

import click

from tinyllm.app.commands.registry import name_option, registry
from tinyllm.app.tracking.setting import tracking_config
from tinyllm.base.command import WorkCommand


@click.command(cls=WorkCommand)
@click.argument("version", type=click.IntRange(1), required=False)
@click.option(
    "--force", is_flag=True, help="Even if it was tested on another text or is not better."
)
@name_option
def promote(version: int | None, name: str, *, force: bool) -> None:
    r"""Make VERSION of the registered model the champion; without one, the candidate.

    It has to beat the champion's bits per character on the same test text by more than
    tracking.champion_margin. The registry records every change of the champion, and why.

    \b
    tinyllm promote
    tinyllm promote 7 --force
    """
    from tinyllm.app.tracking.champion import promote as run

    with registry(name) as client:
        event = run(client, name, version, tracking_config().champion_margin, force=force)
    before = "" if event.before is None else f", after version {event.before}"
    click.echo(f"Version {event.version} of {name} is champion{before}: {event.why}.")
