"""A separate process that delivers a journal to MLflow while a command works.

    python -m tinyllm.app.tracking.background FINGERPRINT STAGE

It ends with its standard input, so it never outlives the command. Importing MLflow alone takes
two seconds of a core; during the train stage, the process uses only idle cores.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

from tinyllm.app.logger import get_logger
from tinyllm.app.tracking.abandoned import deliver_abandoned
from tinyllm.app.tracking.address import database_path
from tinyllm.app.tracking.database import is_being_made
from tinyllm.app.tracking.delivery import Delivery
from tinyllm.app.tracking.journal import Journal
from tinyllm.app.tracking.reasons import reason
from tinyllm.app.tracking.store import connect, journal_folder, tracking_uri
from tinyllm.base.environment import child_environment
from tinyllm.formats.closure import ROOT

# set where the store must not be written: another process delivers what is recorded there
ELSEWHERE_VARIABLE = "TINYLLM_DELIVERED_ELSEWHERE"
_INTERVAL = 2.0
_LONGEST_PAUSE = 30.0
_SAMPLE_INTERVAL = 10.0
_LONGEST_END = 40.0
# begins a line that is no hindrance
_NEWS = "news: "
_log = get_logger(__name__)


class BackgroundDelivery:
    """The process, seen from the command."""

    def __init__(self, fingerprint: str, stage: str) -> None:
        """Start to deliver the journal of a run.

        Args:
            fingerprint: of the run.
            stage: the stage that records; during `train` the process uses only idle cores.
        """
        self._process = subprocess.Popen(  # noqa: S603 - this very Python
            [sys.executable, "-m", __name__, fingerprint, stage],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            env=child_environment(PYTHONPATH=str(ROOT)),
        )

    def finish(self, patience: float) -> str:
        """Let it deliver the rest, for `patience` seconds; return the problem, or ''.

        While it is creating a store, the limit does not apply: the next command would have to
        start over. A process that cannot create it ends by itself.
        """
        logged = False
        while True:
            try:
                said, _ = self._process.communicate(timeout=patience)
                break
            except subprocess.TimeoutExpired:
                if not _is_making_store():
                    self._process.kill()
                    said, _ = self._process.communicate()
                    return _last_line(said) or f"it was not done after {patience:g} seconds"
            if not logged:
                logged = True
                _log.info("MLflow creates its database, which takes a while the first time.")
        for line in said.splitlines():
            if line.startswith(_NEWS):
                _log.info("%s", line.removeprefix(_NEWS))
        if self._process.returncode:
            return f"its delivery ended with exit code {self._process.returncode}"
        return _last_line(said)


def main(fingerprint: str, stage: str) -> None:
    """Deliver periodically until standard input ends, and then once more.

    Prints what prevents a delivery, and an empty line when nothing does; and what was registered.
    """
    # signals to the process group are for the command, which ends this process when it is done
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    journal = Journal(journal_folder(), fingerprint)
    sampling: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
    elsewhere = is_delivered_elsewhere()
    if stage == "train":
        # others may wait for the store, so do not create it in idle time
        if not elsewhere:
            _make_store()
        _give_way()
        import psutil

        from tinyllm.app.tracking.system import SystemMetrics

        sampling = SystemMetrics(journal, psutil.Process(os.getppid()), _SAMPLE_INTERVAL)
    closed = threading.Event()
    threading.Thread(target=_watch, args=(closed,), daemon=True).start()
    with sampling:
        if elsewhere:
            closed.wait()
            return
        _deliver_until(closed, Delivery(journal))
    # including this run, if the command was killed
    deliver_abandoned()


def is_delivered_elsewhere() -> bool:
    """Whether this process only records."""
    return bool(os.environ.get(ELSEWHERE_VARIABLE))


def _deliver_until(closed: threading.Event, delivery: Delivery) -> None:
    before, pause, last = "", 0.0, False
    while not last:
        last = closed.wait(pause)
        try:
            delivery.deliver()
            now, pause = "", _INTERVAL
            for sentence in delivery.take_news():
                print(f"{_NEWS}{sentence}", flush=True)
        except Exception as error:
            now = reason(error)
            pause = min(max(pause, _INTERVAL / 2) * 2, _LONGEST_PAUSE)
        if now != before:
            before = now
            print(now, flush=True)


def _watch(closed: threading.Event) -> None:
    """Set `closed` when the command is done or dead, and exit after a time limit."""
    sys.stdin.read()
    _take_part()
    closed.set()
    time.sleep(_LONGEST_END)
    while _is_making_store():
        time.sleep(1)
    os._exit(1)


def _make_store() -> None:
    """Create a missing SQLite store; the delivery reports errors."""
    path = database_path(tracking_uri())
    if path is not None and not path.exists():
        with contextlib.suppress(Exception):
            connect()


def _is_making_store() -> bool:
    path = database_path(tracking_uri())
    return path is not None and (not path.exists() or is_being_made(path))


def _give_way() -> None:
    """Run only on idle cores."""
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except (AttributeError, OSError):
        os.nice(19)


def _take_part() -> None:
    """Run at normal priority again, if the system permits that."""
    with contextlib.suppress(AttributeError, OSError):
        # by process id: 0 would be the calling thread
        os.sched_setscheduler(os.getpid(), os.SCHED_OTHER, os.sched_param(0))


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if not line.startswith(_NEWS)]
    return lines[-1] if lines else ""


if __name__ == "__main__":
    main(*sys.argv[1:])
