"""Runs whose process died without a word: they must not stay RUNNING forever.

While a run is recorded, its process holds a lock on a file beside its journal and deletes the file
when it ends. The system lets go of a dead process's lock, so a file whose lock is free tells of a
death.
"""

import contextlib
from collections.abc import Iterator

from filelock import FileLock, Timeout

from tinyllm.app.tracking.delivery import Delivery
from tinyllm.app.tracking.journal import Journal
from tinyllm.app.tracking.store import journal_folder

_SUFFIX = ".recording"
# whoever looks for abandoned runs holds the lock for a moment only
_PATIENCE = 10.0


@contextlib.contextmanager
def recording(journal: Journal) -> Iterator[None]:
    """Be known as the living process that records this run."""
    mark = journal.path.with_suffix(_SUFFIX)
    mark.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(mark, timeout=_PATIENCE):
        yield
        # reached in good order only: whoever records has noted how the run ended
        mark.unlink(missing_ok=True)


def end_abandoned() -> list[Journal]:
    """Note in their journals that dead runs were killed; return these journals."""
    ended = []
    for mark in sorted(journal_folder().glob(f"*{_SUFFIX}")):
        journal = Journal(journal_folder(), mark.stem)
        with contextlib.suppress(Timeout), FileLock(mark, timeout=0):
            _note_death(journal)
            mark.unlink(missing_ok=True)
            ended.append(journal)
    return ended


def deliver_abandoned() -> None:
    """Bring MLflow the end of runs that died; raises whatever MLflow raises."""
    for journal in end_abandoned():
        Delivery(journal).deliver()


def _note_death(journal: Journal) -> None:
    """End the run at its last sign of life, unless it ended and only the mark was left."""
    status, last = None, 0
    for event, _ in journal.events():
        last = event["time"]
        if event["kind"] == "status":
            status = event["value"]
    if status == "RUNNING":
        journal.add("status", value="KILLED", time=last)
