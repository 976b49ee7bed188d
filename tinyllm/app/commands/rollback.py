"""`tinyllm rollback`."""

import click

from tinyllm.app.commands.registry import name_option, registry
from tinyllm.base.command import Command


@click.command(cls=Command)
@click.option("--why", default="", help="The reason, for the history.")
@name_option
def rollback(why: str, name: str) -> None:
    """Make the champion before the present one champion again.

    Called again, it goes back one further. The version that was taken back is not promoted by
    itself any more, whatever is run again; 'tinyllm promote VERSION' still can.
    """
    from tinyllm.app.tracking.champion import roll_back

    with registry(name) as client:
        event = roll_back(client, name, why)
    click.echo(
        f"Version {event.version} of {name} is champion again, after version {event.before}: "
        f"{event.why}."
    )
