"""`tinyllm sync`."""

from typing import TYPE_CHECKING

import click

from tinyllm.app.logger import get_logger
from tinyllm.base.command import WorkCommand
from tinyllm.base.errors import TinyLLMError

if TYPE_CHECKING:
    from tinyllm.app.tracking.journal import Journal


@click.command(cls=WorkCommand)
def sync() -> None:
    """Deliver to MLflow what it lacks: after an outage, a deletion or a loss of the store.

    Every run keeps its journal, so nothing is lost while a store is down, and a store that was
    lost is filled again, except for promotions by hand. Delivering twice does no harm: nothing is
    recorded twice. For a run to stay deleted, delete its journal in .tinyllm/journal, too.
    """
    from tinyllm.app.tracking.abandoned import end_abandoned
    from tinyllm.app.tracking.journal import all_journals
    from tinyllm.app.tracking.reasons import is_down, reason
    from tinyllm.app.tracking.store import connect, journal_folder, shown_uri

    end_abandoned()
    journals = all_journals(journal_folder())
    if journals:
        connect()
    completed, problems = 0, []
    for journal in journals:
        try:
            completed += _deliver(journal)
        except Exception as error:
            why = reason(error)
            problems.append(f"{journal.fingerprint}: {why}")
            if is_down(why):
                break
    if problems:
        for problem in problems[:-1]:
            click.echo(problem, err=True)
        again = "when the store is back" if is_down(problems[-1]) else "once that is mended"
        raise TinyLLMError(
            f"MLflow at {shown_uri()} did not take {len(problems)} of {len(journals)} run(s): "
            f"{problems[-1]}; nothing is lost, run 'tinyllm sync' again {again}."
        )
    click.echo(f"{shown_uri()} has everything ({completed} run(s) completed).")


def _deliver(journal: "Journal") -> bool:
    """Deliver a journal; return whether something was missing."""
    from tinyllm.app.tracking.delivery import Delivery

    journal.close_to_others()
    if journal.is_cut_off():
        get_logger(__name__).warning(
            "The last line of %s is cut off; that event is lost.", journal.path
        )
    delivery = Delivery(journal)
    run_id = delivery.deliver()
    for sentence in delivery.take_news():
        click.echo(sentence)
    if delivery.delivered:
        click.echo(
            f"{journal.fingerprint}: {delivery.delivered} event(s) delivered to run {run_id}"
        )
    return delivery.delivered > 0
