"""A delivery to any store: in order, and after interruptions at most the last piece again."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllm.app.tracking.delivery import Delivery
from tinyllm.app.tracking.journal import Journal


class Interrupted(Exception):
    """The store went away."""


class ListStore:
    """A store that remembers calls, and goes away before or after some of them."""

    def __init__(self, failures=()):
        self.calls, self.failures, self.runs = [], iter(failures), {}

    def _call(self, name, *details):
        failure = next(self.failures, None)
        if failure == "before":
            raise Interrupted
        self.calls.append((name, *details))
        if failure == "after":
            raise Interrupted

    def knows(self, run_id, *, with_files):
        return run_id in self.runs.values()

    def has(self, run_id, event):
        return False

    def open_run(self, fingerprint, event, *, trained_here):
        run_id = self.runs.setdefault(fingerprint, f"run-{len(self.runs)}")
        self._call("open", event["name"], trained_here)
        return run_id

    def send_metrics(self, run_id, events):
        self._call("metrics", run_id, *(event["step"] for event in events))

    def send(self, run_id, event):
        self._call(event["kind"], run_id, event.get("file", event.get("value")))


@pytest.fixture
def journal(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///elsewhere.db")
    journal = Journal(tmp_path / "journal", "f" * 32)
    return fill(journal)


def fill(journal):
    journal.add("run", stage="train", experiment="e", name="baseline")
    journal.add("status", value="RUNNING")
    for step in range(1, 6):
        journal.add_metrics(step, {"loss": 1.0})
    journal.add("text", text="x", file="params.yaml")
    journal.add_metrics(6, {"loss": 0.5})
    journal.add("status", value="FINISHED")
    return journal


WHOLE = [
    ("open", "baseline", True),
    ("open", "baseline", True),
    ("status", "run-0", "RUNNING"),
    ("metrics", "run-0", 1, 2, 3, 4, 5),
    ("text", "run-0", "params.yaml"),
    ("metrics", "run-0", 6),
    ("status", "run-0", "FINISHED"),
]


def test_everything_arrives_in_order_and_points_together(journal):
    store = ListStore()
    delivery = Delivery(journal, lambda _: store)
    assert delivery.deliver() == "run-0"
    assert store.calls == WHOLE
    assert journal.pending(delivery.uri) == 0


def test_what_was_delivered_is_not_sent_again(journal):
    store = ListStore()
    Delivery(journal, lambda _: store).deliver()
    Delivery(journal, lambda _: store).deliver()
    assert store.calls == WHOLE


def test_a_store_that_lost_the_run_gets_everything_again(journal):
    Delivery(journal, lambda _: ListStore()).deliver()
    journal.add("status", value="KILLED")
    empty = ListStore()
    Delivery(journal, lambda _: empty).deliver()
    assert empty.calls == [*WHOLE, ("status", "run-0", "KILLED")]


def test_nothing_is_opened_where_nothing_is_pending(tmp_path):
    def refuse(_uri):
        raise AssertionError("the store was opened")

    assert Delivery(Journal(tmp_path, "e" * 32), refuse).deliver() is None


@settings(max_examples=40)
@given(failures=st.lists(st.sampled_from(["before", "after", None]), max_size=12))
def test_interruptions_lose_nothing_and_repeat_at_most_the_last(tmp_path_factory, failures):
    journal = fill(Journal(tmp_path_factory.mktemp("journal"), "f" * 32))
    store = ListStore(failures)
    for _ in range(len(failures) + 1):
        try:
            Delivery(journal, lambda _: store).deliver()
        except Interrupted:
            continue
        break
    once = [call for call, _ in itertools.groupby(store.calls)]
    # opening a run once more changes nothing in it
    assert [call for call in once if call[0] != "open"] == [c for c in WHOLE if c[0] != "open"]
