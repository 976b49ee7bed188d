"""`tinyllm rollback`."""

import click

from tinyllm.app.commands.registry import name_option, registry
from tinyllm.base.command import WorkCommand


@click.command(cls=WorkCommand)
@click.option("--why", default="", help="The reason, for the history.")
@name_option
def rollback(why: str, name: str) -> None:
    """Make the previous champion the champion again.

    Another call goes back one further. A version that was rolled back is never promoted
    automatically again, only by 'tinyllm promote VERSION'.
    """
    from tinyllm.app.tracking.champion import roll_back

    with registry(name) as client:
        event = roll_back(client, name, why)
    click.echo(
        f"Version {event.version} of {name} is champion again, after version {event.before}: "
        f"{event.why}."
    )
