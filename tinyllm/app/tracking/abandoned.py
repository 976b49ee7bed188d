"""Runs whose process was killed: they must not stay RUNNING forever.

While a run is recorded, its process holds a lock on a file beside its journal, and deletes the file
when it ends. The system releases a dead process's lock, so a file without a lock means a kill.
"""

import contextlib
from collections.abc import Iterator

from filelock import FileLock

from tinyllm.app.logger import get_logger
from tinyllm.app.tracking.delivery import Delivery
from tinyllm.app.tracking.journal import Journal
from tinyllm.app.tracking.reasons import reason
from tinyllm.app.tracking.store import journal_folder

_SUFFIX = ".recording"
# a search for abandoned runs holds the lock only briefly
_PATIENCE = 10.0
_log = get_logger(__name__)


@contextlib.contextmanager
def recording(journal: Journal) -> Iterator[None]:
    """Hold the lock of the process that records this run."""
    mark = journal.path.with_suffix(_SUFFIX)
    mark.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(mark, timeout=_PATIENCE):
        yield
        # not after an exception: the journal says how the run ended
        mark.unlink(missing_ok=True)


def end_abandoned() -> list[Journal]:
    """Record in the journals of dead runs that they were killed; return these journals.

    Whoever may only read the project leaves that to its owner.
    """
    ended = []
    for mark in sorted(journal_folder().glob(f"*{_SUFFIX}")):
        journal = Journal(journal_folder(), mark.stem)
        # a `Timeout` is an OSError: somebody records that run
        with contextlib.suppress(OSError), FileLock(mark, timeout=0):
            _note_death(journal)
            mark.unlink(missing_ok=True)
            ended.append(journal)
    return ended


def deliver_abandoned() -> None:
    """Deliver the end of dead runs to MLflow, of those that it takes."""
    for journal in end_abandoned():
        try:
            Delivery(journal).deliver()
        except Exception as error:
            _log.warning("MLflow has not got the end of %s: %s.", journal.path.stem, reason(error))


def _note_death(journal: Journal) -> None:
    """End the run at its last event, unless it had ended and only the file was left."""
    status, last = None, 0
    for event, _ in journal.events():
        last = event["time"]
        if event["kind"] == "status":
            status = event["value"]
    if status == "RUNNING":
        journal.add("status", value="KILLED", time=last)
