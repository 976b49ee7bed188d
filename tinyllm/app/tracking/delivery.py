"""From the journal to a store, each event exactly once, however often delivery is interrupted."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from filelock import FileLock

from tinyllm.app.logger import get_logger
from tinyllm.app.tracking.entries import Event
from tinyllm.app.tracking.journal import Journal
from tinyllm.app.tracking.kept import make_private
from tinyllm.app.tracking.mlflow_store import MlflowStore
from tinyllm.app.tracking.store import tracking_uri

_BATCH = 1000
_log = get_logger(__name__)


class Store(Protocol):
    """A tracking server such as MLflow.

    An interrupted delivery repeats what it may have sent already, so every method must be
    idempotent.
    """

    def knows(self, run_id: str, *, with_files: bool) -> bool:
        """Whether the store still has the run with this id, and if so told its files."""

    def has(self, run_id: str, event: Event) -> bool:
        """Whether the store has the file or the model of an event."""

    def open_run(self, fingerprint: str, event: Event, *, trained_here: bool) -> str:
        """Find or create the run with a fingerprint, update its tags, and return its id.

        Args:
            fingerprint: of the run.
            event: of the kind `run`: experiment, name, parameters and tags.
            trained_here: whether the journal also says how the run ended.
        """

    def send_metrics(self, run_id: str, events: Sequence[Event]) -> None:
        """Send points of curves that the store lacks."""

    def send(self, run_id: str, event: Event) -> None:
        """Send any other event."""

    @property
    def news(self) -> list[str]:
        """Sentences for the user about what has been sent."""


class Delivery:
    """Delivers one journal to one store. Every method raises whatever the store raises."""

    def __init__(self, journal: Journal, open_store: Callable[[str], Store] = MlflowStore) -> None:
        self.journal = journal
        self.uri = tracking_uri()
        self.delivered = 0
        self._open_store = open_store
        self._store: Store | None = None

    def take_news(self) -> list[str]:
        """Sentences about what has been delivered, each of them once."""
        news = [] if self._store is None else self._store.news[:]
        if self._store is not None:
            self._store.news.clear()
        return news

    def deliver(self) -> str | None:
        """Send everything pending; return the run's id, or None if the journal opens no run."""
        make_private(self.journal.path.parent)
        with FileLock(self.journal.path.with_suffix(".lock")):
            self.journal.close_to_others()
            state = self._confirmed_state()
            if state["run_id"] is None and not self._open_first(state):
                return None
            for events, offset in self._batches(state["offset"]):
                self._send(state, events)
                self.delivered += len(events)
                state["offset"] = offset
                self.journal.save_state(self.uri, state)
                if "path" in events[0]:
                    self.journal.files.forget(events[0])
            return state["run_id"]  # type: ignore[no-any-return]  # JSON

    def _send(self, state: dict[str, Any], events: list[Event]) -> None:
        first, run_id = events[0], state["run_id"]
        if first["kind"] == "metrics":
            self._opened().send_metrics(run_id, events)
        elif first["kind"] == "run":
            self._open_run(state, first)
        elif "path" in first:
            self._send_file(run_id, first)
        else:
            self._opened().send(run_id, first)

    def _send_file(self, run_id: str, event: Event) -> None:
        """Send an event with a file or a folder, or say that it is lost."""
        found = self.journal.files.find(event)
        lineage = self.journal.files.find(event["lineage"]) if "lineage" in event else None
        if found is None and not self._opened().has(run_id, event):
            _log.warning(
                "%s of the run %s is kept no longer and has changed since, so MLflow goes without.",
                event.get("origin", event["path"]),
                self.journal.fingerprint,
            )
        elif found is not None or event["kind"] != "artifact":
            self._opened().send(run_id, {**event, "path": found, "lineage": lineage})

    def _opened(self) -> Store:
        if self._store is None:
            self._store = self._open_store(self.uri)
        return self._store

    def _confirmed_state(self) -> dict[str, Any]:
        """What has been delivered, if the store confirms it; nothing, if it lacks the run."""
        state = self.journal.state(self.uri)
        if self._store is not None or state["run_id"] is None:
            return state
        files = any(
            event["kind"] in ("artifact", "text")
            for event, end in self.journal.events()
            if end <= state["offset"]
        )
        known = self._opened().knows(state["run_id"], with_files=files)
        return state if known else {"offset": 0, "run_id": None}

    def _batches(self, offset: int) -> Iterator[tuple[list[Event], int]]:
        """Pending events one by one, but consecutive metrics together."""
        metrics: list[Event] = []
        for event, end in self.journal.events(offset):
            if metrics and (event["kind"] != "metrics" or len(metrics) == _BATCH):
                yield metrics, offset
                metrics = []
            if event["kind"] == "metrics":
                metrics.append(event)
            else:
                yield [event], end
            offset = end
        if metrics:
            yield metrics, offset

    def _open_first(self, state: dict[str, Any]) -> bool:
        """Open the run with the first intact event of the kind `run`."""
        opening = next((e for e, _ in self.journal.events() if e["kind"] == "run"), None)
        if opening is not None:
            self._open_run(state, opening)
        return opening is not None

    def _open_run(self, state: dict[str, Any], event: Event) -> None:
        ended_here = any(other["kind"] == "status" for other, _ in self.journal.events())
        state["run_id"] = self._opened().open_run(
            self.journal.fingerprint, event, trained_here=ended_here
        )
