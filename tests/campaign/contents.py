"""What the journals of a project say, and whether MLflow's store has all of it."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import unquote, urlsplit

_RUN = """
    SELECT run_uuid, status, start_time, end_time, artifact_uri FROM runs
    JOIN tags USING (run_uuid) WHERE lifecycle_stage = 'active'
    AND tags.key = 'tinyllm.fingerprint' AND tags.value = ?
"""


def missing(project: Path) -> list[str]:
    """What the store at the root of a project lacks, or has twice, of all journals."""
    journals = sorted((project / ".tinyllm/journal").glob("*.jsonl"))
    if not journals:
        return ["there is no journal"]
    with closing(sqlite3.connect(project / "mlflow.db", timeout=60)) as store:
        return [
            f"{journal.stem[:8]}: {fault}"
            for journal in journals
            for fault in _faults(journal, store)
        ]


def _faults(journal: Path, store: sqlite3.Connection) -> Iterator[str]:
    events = list(_events(journal))
    runs = store.execute(_RUN, (journal.stem,)).fetchall()
    if len(runs) != 1:
        yield f"{len(runs)} runs instead of one"
        return
    run_id, status, started, ended, place = runs[0]
    opened = next(event["time"] for event in events if event["kind"] == "run")
    states = [event for event in events if event["kind"] == "status"]
    if states and (status, started, ended) != (states[-1]["value"], opened, states[-1]["time"]):
        yield f"the run is {status} from {started} to {ended}"
    yield from _points(events, store, run_id)
    yield from _params(events, store, run_id)
    for file in _files(events):
        if not (Path(unquote(urlsplit(place).path)) / file).exists():
            yield f"no file {file}"
    yield from _versions(events, store)


def _events(journal: Path) -> Iterator[dict[str, Any]]:
    for line in journal.read_bytes().splitlines():
        # the kill tore some
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "kind" in event:
            yield event


def _points(events: list[dict[str, Any]], store: sqlite3.Connection, run_id: str) -> Iterator[str]:
    expected = {
        (key, event["step"], value, event["time"])
        for event in events
        if event["kind"] == "metrics"
        for key, value in event["values"].items()
    }
    sql = "SELECT key, step, value, timestamp FROM metrics WHERE run_uuid = ?"
    found = store.execute(sql, (run_id,)).fetchall()
    if lost := expected - set(found):
        yield f"{len(lost)} of {len(expected)} points are missing, such as {min(lost)}"
    curves = {key for key, *_ in expected}
    taken = [row[:2] for row in found if row[0] in curves]
    if len(taken) != len(set(taken)):
        yield f"{len(taken) - len(set(taken))} points are there twice"
    figures = {k for event in events if event["kind"] == "figures" for k in event["values"]}
    if lost_figures := figures - {row[0] for row in found}:
        yield f"no figures {', '.join(sorted(lost_figures))}"


def _params(events: list[dict[str, Any]], store: sqlite3.Connection, run_id: str) -> Iterator[str]:
    named = {key for e in events if e["kind"] == "run" for key in e.get("params", {})}
    rows = store.execute("SELECT key FROM params WHERE run_uuid = ?", (run_id,)).fetchall()
    if lost := named - {key for (key,) in rows}:
        yield f"no parameters {', '.join(sorted(lost))}"


def _files(events: list[dict[str, Any]]) -> set[str]:
    texts = {event["file"] for event in events if event["kind"] == "text"}
    kept = [event for event in events if event["kind"] == "artifact"]
    return texts | {f"{event['folder']}/{PurePath(event['path']).name}" for event in kept}


def _versions(events: list[dict[str, Any]], store: sqlite3.Connection) -> Iterator[str]:
    exported = {event["sha256"] for event in events if event["kind"] == "export"}
    sql = "SELECT value FROM model_version_tags WHERE key = 'weights.sha256'"
    registered = [value for (value,) in store.execute(sql)]
    if lost := exported - set(registered):
        yield f"{len(lost)} exported models have no version"
    if len(registered) != len(set(registered)):
        yield "a model has two versions"
