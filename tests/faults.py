"""Runs beside a tracking server that fails in every way, and what it has in the end."""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.mlflow_server import MLflowServer
from tests.project import clean_environment
from tests.proxy import Proxy
from tinyllm.app.config import TrackingConfig
from tinyllm.app.tracking.journal import Journal
from tinyllm.base.command import section_arguments
from tinyllm.base.section import Section

LONGEST_TRAINING = 1800.0


@dataclass
class Scene:
    """What a fault may play with; `stack` is unwound before `tinyllm sync`."""

    server: MLflowServer
    proxy: Proxy
    lock_seconds: float
    stack: contextlib.ExitStack

    def mode(self, mode: str) -> None:
        """Set the proxy's mode."""
        self.proxy.mode = mode  # type: ignore[assignment]  # a literal

    def lock(self) -> None:
        """Lock the server's database for some seconds, while the training goes on."""

        def hold() -> None:
            with self.server.locked():
                time.sleep(self.lock_seconds)

        thread = threading.Thread(target=hold)
        thread.start()
        self.stack.callback(thread.join)

    def fill(self) -> None:
        """Fill the server's disk."""
        self.stack.enter_context(self.server.full())


Action = Callable[[Scene], object]
# what happens at which share of the training's steps; the first line of each is before it starts
FAULTS: dict[str, Mapping[float, Action]] = {
    "healthy": {},
    "down at start": {0.0: lambda s: s.proxy.stop()},
    "killed at 30 %, restarted at 60 %": {
        0.3: lambda s: s.server.kill(),
        0.6: lambda s: s.server.start(wait=False),
    },
    "3 s latency": {0.0: lambda s: s.mode("slow")},
    "answers 500": {0.3: lambda s: s.mode("error")},
    "connection reset": {0.3: lambda s: s.mode("reset")},
    "answers lost": {0.0: lambda s: s.mode("deaf"), 0.6: lambda s: s.mode("pass")},
    "database locked": {0.3: lambda s: s.lock()},
    "disk full": {0.3: lambda s: s.fill()},
}


@dataclass(frozen=True)
class Outcome:
    """Seconds of the loop and behind it, and what the server has after `tinyllm sync`."""

    loop: float
    behind: float
    exit_code: int
    warnings: list[str]
    sync_code: int = 0
    expected: int = 0
    before_sync: int = 0
    present: int = 0
    duplicates: int = 0
    faults: list[str] = field(default_factory=list)


def train_once(
    folder: Path,
    tokens: Path,
    sections: Mapping[str, Section],
    uri: str,
    while_training: Callable[[subprocess.Popen[str]], None] = lambda _: None,
) -> Outcome:
    """Train in a process, in a folder of its own, into the store at `uri`; '' tracks nothing."""
    folder.mkdir(parents=True)
    tracking = TrackingConfig(tracking=bool(uri))
    paths = ["--tokens", str(tokens), "--out", "model", "--reports", "reports"]
    flags = [
        flag for section in (*sections.values(), tracking) for flag in section_arguments(section)
    ]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.timed_train", "times.json", *paths, *flags],
        cwd=folder,
        env=environment(folder, uri),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as process:
        while_training(process)
        _, errors = process.communicate(timeout=LONGEST_TRAINING)
    times = json.loads((folder / "times.json").read_text(encoding="utf-8"))
    warnings = [line for line in errors.splitlines() if "WARNING" in line or "Error" in line]
    return Outcome(times["loop"], times["behind"], process.returncode, warnings)


def environment(folder: Path, uri: str) -> dict[str, str]:
    """A person's, for this folder and this store."""
    root = Path(__file__).resolve().parent.parent
    own = {"DVC_ROOT": str(folder), "PYTHONPATH": str(root)}
    return {**clean_environment(), **own, **({"MLFLOW_TRACKING_URI": uri} if uri else {})}


def train_through(
    fault: str,
    folder: Path,
    tokens: Path,
    sections: Mapping[str, Section],
    server: MLflowServer,
    *,
    lock_seconds: float = 30.0,
) -> Outcome:
    """Train beside a running server while it fails, then mend it, sync, and count."""
    steps = sections["train"].max_steps  # type: ignore[attr-defined]  # the train section's own
    with contextlib.ExitStack() as stack, Proxy(server.port) as proxy:
        scene = Scene(server, proxy, lock_seconds, stack)
        actions = dict(FAULTS[fault])
        if 0.0 in actions:
            actions.pop(0.0)(scene)

        def play(process: subprocess.Popen[str]) -> None:
            for share, action in sorted(actions.items()):
                while process.poll() is None and last_step(folder) < share * steps:
                    time.sleep(0.05)
                action(scene)

        trained = train_once(folder, tokens, sections, proxy.uri, play)
        stack.close()
        server.wait()
        scene.mode("pass")
        if "down" in fault:
            proxy.start()
        before = points_in(server.database, fingerprint_in(folder))
        synced = subprocess.run(
            [sys.executable, "-m", "tinyllm.app.cli", "sync"],
            cwd=folder,
            env=environment(folder, proxy.uri),
            check=False,
        )
    return count(folder, server.database, trained, before, synced.returncode)


def count(
    folder: Path,
    database: Path,
    trained: Outcome,
    before: list[tuple[str, int, float, int]],
    sync_code: int,
) -> Outcome:
    """Compare what the journal says with what the database holds."""
    journal = journal_in(folder)
    expected = {
        (key, event["step"], value, event["time"])
        for event, _ in journal.events()
        if event["kind"] == "metrics"
        for key, value in event["values"].items()
    }
    curves = {key for key, *_ in expected}
    stored = [row for row in points_in(database, journal.fingerprint) if row[0] in curves]
    return Outcome(
        trained.loop,
        trained.behind,
        trained.exit_code,
        trained.warnings,
        sync_code,
        len(expected),
        len(expected & set(before)),
        len(expected & set(stored)),
        len(stored) - len({row[:2] for row in stored}),
        list(_wrong_in_run(journal, database)),
    )


def _wrong_in_run(journal: Journal, database: Path) -> Iterator[str]:
    events = [event for event, _ in journal.events()]
    started = next(event["time"] for event in events if event["kind"] == "run")
    ended = [event["time"] for event in events if event["kind"] == "status"][-1]
    runs = _query(
        database,
        "SELECT status, start_time, end_time FROM runs JOIN tags USING (run_uuid) "
        "WHERE lifecycle_stage = 'active' AND tags.key = 'tinyllm.fingerprint' AND tags.value = ?",
        journal.fingerprint,
    )
    if len(runs) != 1:
        yield f"{len(runs)} runs"
    for run in runs:
        if run != ("FINISHED", started, ended):
            yield f"run is {run} instead of {('FINISHED', started, ended)}"


def points_in(database: Path, fingerprint: str) -> list[tuple[str, int, float, int]]:
    """Key, step, value and time of all points of a run."""
    return _query(
        database,
        "SELECT metrics.key, step, metrics.value, timestamp FROM metrics "
        "JOIN tags USING (run_uuid) JOIN runs USING (run_uuid) WHERE lifecycle_stage = 'active' "
        "AND tags.key = 'tinyllm.fingerprint' AND tags.value = ?",
        fingerprint,
    )


def journal_in(folder: Path) -> Journal:
    """The only journal of a folder."""
    (path,) = (folder / ".tinyllm" / "journal").glob("*.jsonl")
    return Journal(path.parent, path.stem)


def fingerprint_in(folder: Path) -> str:
    """That of the only training of a folder."""
    return journal_in(folder).fingerprint


def last_step(folder: Path) -> int:
    """How far the training in a folder has come, read off the end of its journal."""
    for path in (folder / ".tinyllm" / "journal").glob("*.jsonl"):
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
            for line in reversed(file.read().split(b"\n")[1:-1]):
                event = json.loads(line)
                if event["kind"] == "metrics" and "train_loss" in event["values"]:
                    return int(event["step"])
    return 0


def _query(database: Path, sql: str, *values: str) -> list[tuple]:
    with contextlib.closing(sqlite3.connect(database, timeout=60)) as connection:
        return connection.execute(sql, values).fetchall()
