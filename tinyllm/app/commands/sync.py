"""`tinyllm sync`."""

import click

from tinyllm.base.command import Command
from tinyllm.base.errors import TinyLLMError


@click.command(cls=Command)
def sync() -> None:
    """Deliver to MLflow what it missed while it was unavailable.

    Every run keeps its journal until the store has all of it, so nothing is lost while a store is
    down. Delivering twice does no harm: nothing is recorded twice.
    """
    from tinyllm.app.tracking.abandoned import end_abandoned
    from tinyllm.app.tracking.database import database_path
    from tinyllm.app.tracking.delivery import Delivery
    from tinyllm.app.tracking.journal import Journal
    from tinyllm.app.tracking.reasons import reason
    from tinyllm.app.tracking.store import connect, journal_folder, shown_uri, tracking_uri

    uri, shown = tracking_uri(), shown_uri()
    delivered = 0
    end_abandoned()
    journals = sorted(journal_folder().glob("*.jsonl"))
    if journals and database_path(uri) is not None:
        # a store that is gone has received nothing
        connect()
    for path in journals:
        journal = Journal(journal_folder(), path.stem)
        journal.close_to_others()
        pending = journal.pending(uri)
        if not pending:
            continue
        try:
            run_id = Delivery(journal).deliver()
        except Exception as error:
            raise TinyLLMError(
                f"MLflow at {shown} does not take the run {path.stem}: {reason(error)}; nothing "
                f"is lost, run 'tinyllm sync' again when the store is back."
            ) from None
        click.echo(f"{path.stem}: {pending} event(s) delivered to run {run_id}")
        delivered += 1
    click.echo(f"{shown} has everything ({delivered} run(s) completed).")
