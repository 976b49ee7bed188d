"""The events of a run, kept on disk until MLflow has them.

A journal is an append-only file of JSON lines, with a small file beside it that says how much has
been delivered to which store. So nothing is lost when a server is down, slow or full:
`tinyllm sync` delivers the rest.
"""

import contextlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from tinyllm.app.redaction import without_secrets
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.files import read_json, write_json

Event = dict[str, Any]
_NOTHING: dict[str, Any] = {"offset": 0, "run_id": None}
_STATE = ".state.json"


def make_private(folder: Path) -> None:
    """Create a folder, with its parents, that only its owner may read."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.suppress(PermissionError):
        folder.chmod(0o700)


def forget_deliveries(folder: Path, uri: str) -> None:
    """Make all journals of a folder deliver everything again to the store at `uri`."""
    for path in folder.glob(f"*{_STATE}"):
        # a damaged one is reported when its journal is delivered
        with contextlib.suppress(TinyLLMError):
            states = _read_states(path)
            if states.pop(without_secrets(uri), None) is not None:
                _write_states(path, states)


class Journal:
    """The journal of the run with a given fingerprint."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.fingerprint = fingerprint
        self.path = folder / f"{fingerprint}.jsonl"
        self._files = folder / f"{fingerprint}.files"
        self._state_path = folder / f"{fingerprint}{_STATE}"
        self._last_steps: dict[str, int] | None = None
        self._file: BinaryIO | None = None

    def add(self, kind: str, **details: Any) -> None:
        """Append an event with the present time (milliseconds since 1970, UTC)."""
        event = {"kind": kind, "time": int(time.time() * 1000), **details}
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

    def keep(self, path: Path) -> str:
        """Copy a file or folder beside the journal until it is delivered.

        The original may be gone by then: DVC deletes outs, and the copies of experiments.
        """
        place = self._new_place(path.name)
        if path.is_dir():
            shutil.copytree(path, place)
        else:
            shutil.copyfile(path, place)
        return str(place)

    def keep_bytes(self, name: str, data: bytes) -> str:
        """Write `data` beside the journal until it is delivered."""
        place = self._new_place(name)
        place.write_bytes(data)
        return str(place)

    def forget(self, path: str) -> None:
        """Delete what `keep` copied."""
        place = Path(path).parent
        if place.parent == self._files and place.name != "..":
            shutil.rmtree(place, ignore_errors=True)

    def events(self, offset: int = 0) -> Iterator[tuple[Event, int]]:
        """Yield complete events from a byte offset on, each with the offset after it."""
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
                    # a line that a crash truncated
                    continue

    def state(self, uri: str) -> dict[str, Any]:
        """What has been delivered to the store at `uri`: byte offset and run id."""
        return dict(_read_states(self._state_path).get(without_secrets(uri), _NOTHING))

    def save_state(self, uri: str, state: Mapping[str, Any]) -> None:
        """Record what has been delivered to the store at `uri`."""
        states = {**_read_states(self._state_path), without_secrets(uri): dict(state)}
        _write_states(self._state_path, states)

    def close_to_others(self) -> None:
        """Let only the owner read the journal, and remove passwords of stores.

        Earlier versions let everybody read it, and recorded whole URLs.
        """
        if not self.path.parent.exists():
            return
        make_private(self.path.parent)
        for file in self.path.parent.glob(f"{self.fingerprint}.*"):
            if file.is_file() and file.stat().st_mode & 0o077:
                file.chmod(0o600)
        if self._state_path.exists():
            states = read_json(self._state_path)
            if isinstance(states, dict) and any(without_secrets(uri) != uri for uri in states):
                _write_states(self._state_path, _read_states(self._state_path))

    def pending(self, uri: str) -> int:
        """Number of events not yet delivered to the store at `uri`."""
        return sum(1 for _ in self.events(self.state(uri)["offset"]))

    def _new_place(self, name: str) -> Path:
        folder = self._files / uuid.uuid4().hex
        make_private(self.path.parent)
        make_private(self._files)
        make_private(folder)
        return folder / name

    def _end_torn_line(self) -> None:
        """End a line that a crash left unfinished."""
        make_private(self.path.parent)
        with self.path.open("a+b") as file:
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


def _read_states(path: Path) -> dict[str, Any]:
    """What was delivered, by store URI without passwords.

    Raises:
        TinyLLMError: the file is damaged.
    """
    if not path.exists():
        return {}
    states = read_json(path)
    if not isinstance(states, dict):
        raise TinyLLMError(f"{path} is damaged; delete it, and everything is delivered again.")
    return {without_secrets(uri): state for uri, state in states.items()}


def _write_states(path: Path, states: Mapping[str, Any]) -> None:
    write_json(path, states)
    path.chmod(0o600)
