"""What a run has to tell MLflow, kept on disk until MLflow has it.

A journal is a file of JSON lines that only grows, and beside it a small file that says how much
of it has been delivered to which store. A dead, slow or full server therefore loses nothing:
`tinyllm sync` delivers the rest.
"""

import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from tinyllm.files import read_json, write_json

Event = dict[str, Any]


class Journal:
    """The journal of the run with a given fingerprint."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.fingerprint = fingerprint
        self.path = folder / f"{fingerprint}.jsonl"
        self._files = folder / f"{fingerprint}.files"
        self._state_path = folder / f"{fingerprint}.state.json"
        self._last_steps: dict[str, int] | None = None
        self._file: BinaryIO | None = None

    def add(self, kind: str, **details: Any) -> None:
        """Append an event with the present time (milliseconds since 1970, UTC)."""
        event = {"kind": kind, "time": int(time.time() * 1000), **details}
        if self._file is None:
            self._end_torn_line()
            # unbuffered: what is added is in the file, in one piece, whatever happens next
            self._file = self.path.open("ab", buffering=0)
        self._file.write(json.dumps(event).encode() + b"\n")

    def add_metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Append a point of several curves, unless the journal has that step already.

        A training that resumes takes some steps a second time; they come out the same.
        """
        last = self._known_steps()
        new = {key: value for key, value in values.items() if step > last.get(key, -1)}
        if new:
            self.add("metrics", step=step, values=new)
            last.update(dict.fromkeys(new, step))

    def next_step(self, *curves: str) -> int:
        """The first step that none of these curves has, for those that only count their points."""
        last = self._known_steps()
        return 1 + max(last.get(curve, -1) for curve in curves)

    def keep(self, path: Path) -> str:
        """Copy a file or folder beside the journal, where it stays until it is delivered.

        What a stage wrote may be gone by then: DVC deletes outs, and experiments' copies.
        """
        place = self._new_place(path.name)
        if path.is_dir():
            shutil.copytree(path, place)
        else:
            shutil.copyfile(path, place)
        return str(place)

    def keep_bytes(self, name: str, data: bytes) -> str:
        """Write `data` beside the journal, where it stays until it is delivered."""
        place = self._new_place(name)
        place.write_bytes(data)
        return str(place)

    def forget(self, path: str) -> None:
        """Delete what `keep` copied, once it is delivered."""
        place = Path(path).parent
        if place.parent == self._files:
            shutil.rmtree(place, ignore_errors=True)

    def events(self, offset: int = 0) -> Iterator[tuple[Event, int]]:
        """Yield whole events from a byte offset on, each with the offset behind it."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(offset)
            for line in file:
                offset += len(line)
                if not line.endswith(b"\n"):
                    return
                try:
                    yield json.loads(line), offset
                except ValueError:
                    # a line that a crash tore in the middle of the file
                    continue

    def state(self, uri: str) -> dict[str, Any]:
        """What has been delivered to the store at `uri`: byte offset and run id."""
        if not self._state_path.exists():
            return {"offset": 0, "run_id": None}
        return dict(read_json(self._state_path).get(uri, {"offset": 0, "run_id": None}))

    def save_state(self, uri: str, state: Mapping[str, Any]) -> None:
        """Remember what has been delivered to the store at `uri`."""
        states = read_json(self._state_path) if self._state_path.exists() else {}
        write_json(self._state_path, {**states, uri: dict(state)})

    def pending(self, uri: str) -> int:
        """Number of events that the store at `uri` has not got yet."""
        return sum(1 for _ in self.events(self.state(uri)["offset"]))

    def _new_place(self, name: str) -> Path:
        folder = self._files / uuid.uuid4().hex
        folder.mkdir(parents=True)
        return folder / name

    def _end_torn_line(self) -> None:
        """End a line that a crash left unfinished, before the first new one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as file:
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
