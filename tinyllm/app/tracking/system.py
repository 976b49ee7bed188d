"""Load of the machine and the run, under the names of MLflow's system metrics."""

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import psutil

from tinyllm.app.tracking.journal import Journal

_MEGA = 1e6


class SystemMetrics:
    """Samples into a journal, in a separate thread, within a `with` block."""

    def __init__(self, journal: Journal, process: psutil.Process, interval: float) -> None:
        """Prepare to sample.

        Args:
            journal: of the run.
            process: the one that trains.
            interval: seconds between samples.
        """
        # a separate one, since it keeps a file open and this is another thread
        self._journal = Journal(journal.path.parent, journal.fingerprint)
        self._process = process
        self._interval = interval
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample_until_done, daemon=True)

    def __enter__(self) -> Self:
        """Start sampling."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop sampling."""
        self._done.set()
        self._thread.join()

    def _sample_until_done(self) -> None:
        # usage is measured between two calls
        usage(self._process)
        while not self._done.wait(self._interval):
            try:
                values = usage(self._process)
            except psutil.Error:
                return
            self._journal.add_metrics(self._journal.next_step(*values), values)


def usage(process: psutil.Process) -> Mapping[str, float]:
    """Load since the last call, and memory in use: of the machine, and of the process in it."""
    memory = psutil.virtual_memory()
    return {
        "system/cpu_utilization_percentage": psutil.cpu_percent(),
        "system/system_memory_usage_megabytes": memory.used / _MEGA,
        "system/system_memory_usage_percentage": memory.percent,
        "system/process_cpu_percentage": process.cpu_percent(),
        "system/process_memory_megabytes": process.memory_info().rss / _MEGA,
    }
