"""A process of its own that brings a journal to MLflow while a command works.

    python -m tinyllm.app.tracking.background FINGERPRINT STAGE

It ends with its standard input, so it never outlives the command. Importing MLflow alone takes
two seconds of a core; beside the train stage, the process only takes what cores have to spare.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import psutil

from tinyllm.app.logger import get_logger
from tinyllm.app.tracking.abandoned import deliver_abandoned
from tinyllm.app.tracking.database import database_path, is_being_made
from tinyllm.app.tracking.delivery import Delivery
from tinyllm.app.tracking.journal import Journal
from tinyllm.app.tracking.reasons import reason
from tinyllm.app.tracking.store import connect, journal_folder, tracking_uri
from tinyllm.app.tracking.system import SystemMetrics
from tinyllm.formats.closure import ROOT

_INTERVAL = 2.0
_LONGEST_PAUSE = 30.0
_SAMPLE_INTERVAL = 10.0
_LONGEST_END = 40.0
_log = get_logger(__name__)


class BackgroundDelivery:
    """The process, as the command sees it."""

    def __init__(self, fingerprint: str, stage: str) -> None:
        """Start to deliver the journal of a run.

        Args:
            fingerprint: of the run.
            stage: which stage records; beside `train` the process takes spare time only.
        """
        paths = (str(ROOT), os.environ.get("PYTHONPATH"))
        self._process = subprocess.Popen(  # noqa: S603 - this very Python
            [sys.executable, "-m", __name__, fingerprint, stage],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        )

    def finish(self, patience: float) -> str:
        """Let it deliver what is left, for so many seconds; return what hindered it, or ''.

        While there is no store yet, nobody's patience counts: the next command would begin to make
        one anew. A process that cannot make it ends by itself.
        """
        told = False
        while True:
            try:
                said, _ = self._process.communicate(timeout=patience)
                break
            except subprocess.TimeoutExpired:
                if not _is_making_store():
                    self._process.kill()
                    said, _ = self._process.communicate()
                    return _last_line(said) or f"it was not done after {patience:g} seconds"
            if not told:
                told = True
                _log.info("MLflow makes its database, which takes a while the first time.")
        if self._process.returncode:
            return f"its delivery ended with exit code {self._process.returncode}"
        return _last_line(said)


def main(fingerprint: str, stage: str) -> None:
    """Deliver now and then until standard input ends, and once more then.

    What hinders a delivery is printed, an empty line when nothing does any more.
    """
    # a signal to the group is for the command, which ends this process when it is through
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    journal = Journal(journal_folder(), fingerprint)
    sampling: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
    if stage == "train":
        # others may wait for the store, so it is not made in spare time
        _make_store()
        _give_way()
        sampling = SystemMetrics(journal, psutil.Process(os.getppid()), _SAMPLE_INTERVAL)
    closed = threading.Event()
    threading.Thread(target=_watch, args=(closed,), daemon=True).start()
    with sampling:
        _deliver_until(closed, Delivery(journal))
    with contextlib.suppress(Exception):
        # also this very run, should the command have been killed
        deliver_abandoned()


def _deliver_until(closed: threading.Event, delivery: Delivery) -> None:
    before, pause, last = "", 0.0, False
    while not last:
        last = closed.wait(pause)
        try:
            delivery.deliver()
            now, pause = "", _INTERVAL
        except Exception as error:
            now = reason(error)
            pause = min(max(pause, _INTERVAL / 2) * 2, _LONGEST_PAUSE)
        if now != before:
            before = now
            print(now, flush=True)


def _watch(closed: threading.Event) -> None:
    """Tell when the command is through, or dead; then nobody waits for long any more."""
    sys.stdin.read()
    _take_part()
    closed.set()
    time.sleep(_LONGEST_END)
    while _is_making_store():
        time.sleep(1)
    os._exit(1)


def _make_store() -> None:
    """Make a SQLite store that is not there yet; what hinders that is told at the delivery."""
    path = database_path(tracking_uri())
    if path is not None and not path.exists():
        with contextlib.suppress(Exception):
            connect()


def _is_making_store() -> bool:
    path = database_path(tracking_uri())
    return path is not None and (not path.exists() or is_being_made(path))


def _give_way() -> None:
    """Run only when a core has nothing else to do."""
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except (AttributeError, OSError):
        os.nice(19)


def _take_part() -> None:
    """Have a share of the cores again, where the system permits that."""
    with contextlib.suppress(AttributeError, OSError):
        # by its number: 0 would be the thread that calls
        os.sched_setscheduler(os.getpid(), os.SCHED_OTHER, os.sched_param(0))


def _last_line(text: str) -> str:
    return text.splitlines()[-1] if text else ""


if __name__ == "__main__":
    main(*sys.argv[1:])
