"""The events of a run, kept on disk until MLflow has them, and after, in case it loses them.

A journal is an append-only file of JSON lines, with a small file beside it that says how much has
been delivered to which store. So nothing is lost when a server is down, slow, full or replaced:
`tinyllm sync` delivers the rest.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from tinyllm.app.logger import get_logger
from tinyllm.app.redaction import without_secrets_in
from tinyllm.app.tracking.deliveries import Deliveries
from tinyllm.app.tracking.entries import Event, parse_entry
from tinyllm.app.tracking.kept import KeptFiles, make_private

_log = get_logger(__name__)


class Journal:
    """The journal of the run with a given fingerprint."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.fingerprint = fingerprint
        self.path = folder / f"{fingerprint}.jsonl"
        self.files = KeptFiles(folder / f"{fingerprint}.files")
        self._deliveries = Deliveries(folder / f"{fingerprint}.state.json")
        self._last_steps: dict[str, int] | None = None
        self._file: BinaryIO | None = None
        self._skipped: set[int] = set()

    def add(self, kind: str, **details: Any) -> None:
        """Append an event with the present time (milliseconds since 1970, UTC), without secrets.

        Raises:
            OSError: the journal cannot be written.
        """
        event = {"kind": kind, "time": int(time.time() * 1000), **without_secrets_in(details)}
        if self._file is None:
            self._end_torn_line()
            # unbuffered: each event is written at once and in one piece
            self._file = self.path.open("ab", buffering=0)
        self._file.write(json.dumps(event).encode() + b"\n")

    def add_metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Append a point of several curves, unless the journal has that step already.

        A run that resumes repeats some steps, with the same results.
        """
        last = self._known_steps()
        new = {key: value for key, value in values.items() if step > last.get(key, -1)}
        if new:
            self.add("metrics", step=step, values=new)
            last.update(dict.fromkeys(new, step))

    def next_step(self, *curves: str) -> int:
        """The first step that none of these curves has, for curves that just count."""
        last = self._known_steps()
        return 1 + max(last.get(curve, -1) for curve in curves)

    def events(self, offset: int = 0) -> Iterator[tuple[Event, int]]:
        """Yield complete events from a byte offset on, each with the offset after it.

        A damaged line costs only itself, and a warning.
        """
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(offset)
            for line in file:
                offset += len(line)
                if not line.endswith(b"\n"):
                    return
                try:
                    yield parse_entry(line), offset
                except ValueError as error:
                    self._skip(offset, str(error))

    def is_cut_off(self) -> bool:
        """Whether the last line has no end, as after a crash or a full disk."""
        return not self._is_end_of_line(self.path.stat().st_size)

    def first_time(self) -> int:
        """The time of the first event, in milliseconds since 1970; 0 if none can be read."""
        with contextlib.suppress(OSError):
            return next((int(event["time"]) for event, _ in self.events()), 0)
        return 0

    def state(self, uri: str) -> dict[str, Any]:
        """What has been delivered to the store at `uri`: byte offset and run id."""
        state = self._deliveries.read(uri)
        # of another file than this one
        return state if self._is_end_of_line(state["offset"]) else {**state, "offset": 0}

    def save_state(self, uri: str, state: Mapping[str, Any]) -> None:
        """Record what has been delivered to the store at `uri`."""
        self._deliveries.write(uri, state)

    def close_to_others(self) -> None:
        """Let only the owner read the journal: earlier versions let everybody."""
        if not self.path.parent.exists():
            return
        make_private(self.path.parent)
        for file in self.path.parent.glob(f"{self.fingerprint}.*"):
            if file.is_file() and file.stat().st_mode & 0o077:
                file.chmod(0o600)

    def pending(self, uri: str) -> int:
        """Number of events not yet delivered to the store at `uri`."""
        return sum(1 for _ in self.events(self.state(uri)["offset"]))

    def _skip(self, end: int, why: str) -> None:
        """Warn of a damaged line once."""
        if end in self._skipped:
            return
        self._skipped.add(end)
        with self.path.open("rb") as file:
            number = file.read(end).count(b"\n")
        _log.warning("%s, line %d is damaged and left out (%s).", self.path, number, why)

    def _is_end_of_line(self, offset: int) -> bool:
        if offset == 0 or not self.path.exists():
            return True
        with self.path.open("rb") as file:
            file.seek(offset - 1)
            return file.read(1) == b"\n"

    def _end_torn_line(self) -> None:
        """End a line that a crash left unfinished."""
        make_private(self.path.parent)
        with self.path.open("a+b") as file:
            with contextlib.suppress(PermissionError):
                os.fchmod(file.fileno(), 0o600)
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")

    def _known_steps(self) -> dict[str, int]:
        """The last step of each curve in the journal."""
        if self._last_steps is None:
            self._last_steps = {}
            for event, _ in self.events():
                if event["kind"] == "metrics":
                    self._last_steps.update(dict.fromkeys(event["values"], event["step"]))
        return self._last_steps


def all_journals(folder: Path) -> list[Journal]:
    """The journals of all runs, by the time of their first event.

    In this order a store that is filled anew numbers its models as before, and compares them.
    """
    found = []
    for path in folder.glob("*.jsonl"):
        # a folder is refused when it is read; of a pipe nobody would ever see the end
        if path.is_file() or path.is_dir():
            found.append(Journal(folder, path.stem))
        else:
            _log.warning("%s is no journal and left out, since it is no regular file.", path)
    return sorted(found, key=lambda journal: (journal.first_time(), journal.fingerprint))
