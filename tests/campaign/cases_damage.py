"""Cases: journals and state files that are damaged."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from tests.campaign.case import Mechanism, case
from tests.campaign.world import World

JOURNAL = Mechanism.JOURNAL


@contextlib.contextmanager
def _journals(world: World) -> Iterator[tuple[Path, Path]]:
    """A small project with a journal to damage, before and after which others are delivered."""
    place = world.folder
    folder = place / ".tinyllm" / "journal"
    folder.mkdir(parents=True)
    for number, name in enumerate("acb"):
        (folder / f"{name * 32}.jsonl").write_bytes(_lines(number))
    yield place, folder / f"{'c' * 32}.jsonl"
    runs = json.loads(world.tinyllm("runs", "--json", cwd=place).succeeded())
    whole = [run for run in runs if run["metrics"].get("loss") == 0.25]
    assert {"0", "2"} <= {run["params"]["number"] for run in whole}, runs


def _lines(number: int, **changes: object) -> bytes:
    """A journal: a run, ten points, a text, the end."""
    head = {"kind": "run", "stage": "train", "experiment": "tinyllm", "name": f"run {number}"}
    events = [{**head, "params": {"number": str(number)}, "tags": {}, **changes}]
    points = [{"kind": "metrics", "step": n, "values": {"loss": 0.25}} for n in range(10)]
    events += [*points, {"kind": "text", "text": "x", "file": "note.txt"}]
    events += [{"kind": "status", "value": "FINISHED"}]
    return b"".join(json.dumps({**e, "time": number + 1}).encode() + b"\n" for e in events)


def _damaged(name: str, given: str, line: bytes) -> None:
    def check(world: World) -> None:
        with _journals(world) as (place, bad):
            lines = bad.read_bytes().splitlines(keepends=True)
            bad.write_bytes(b"".join([lines[0], line + b"\n", *lines[1:]]))
            result = world.tinyllm("sync", cwd=place)
            result.succeeded(bad.name, "line 2")

    check.__name__ = name
    case(JOURNAL, f"a line of a journal is {given}", "it alone is left out, and named")(check)


_damaged("line_without_kind", "`{}`", b"{}")
_damaged("line_of_bytes", "no text", b"\xff\xfe\x00")
_damaged("line_of_a_list", "a list", b"[1, 2]")
_damaged("line_of_a_number", "a number", b"7")
_damaged("line_of_an_unknown_kind", "of an unknown kind", b'{"kind": "magic", "time": 1}')
_damaged("line_without_time", "without a time", b'{"kind": "status", "value": "FAILED"}')
_damaged(
    "line_with_words_for_values",
    "with words for values",
    b'{"kind": "metrics", "time": 1, "step": 3, "values": {"loss": "low"}}',
)
_damaged("line_without_path", "an artifact without a path", b'{"kind": "artifact", "time": 1}')
_damaged("line_nested_deeply", "JSON nested 100,000 deep", b"[" * 100_000)
_damaged("line_cut_off", "cut off", b'{"kind": "metrics", "time": 1, "st')


@case(JOURNAL, "a journal is cut off in its first line", "that is said")
def first_line_cut_off(world: World) -> None:
    with _journals(world) as (place, bad):
        bad.write_bytes(bad.read_bytes()[:40])
        world.tinyllm("sync", cwd=place).succeeded(bad.name, "cut off")


@case(JOURNAL, "a journal is a FIFO", "it is left out and named")
def journal_that_is_a_pipe(world: World) -> None:
    with _journals(world) as (place, bad):
        bad.unlink()
        os.mkfifo(bad)
        world.tinyllm("sync", cwd=place).succeeded(bad.name, "no regular file")


def _state(name: str, given: str, text: str) -> None:
    def check(world: World) -> None:
        with _journals(world) as (place, bad):
            bad.with_name(f"{bad.stem}.state.json").write_text(text)
            world.tinyllm("sync", cwd=place).succeeded("has everything")

    check.__name__ = name
    case(JOURNAL, f"a state file is {given}", "all journals are delivered")(check)


_state("state_empty", "empty", "")
_state("state_of_a_list", "a list", "[1]")
_state("state_of_numbers", "of numbers for stores", '{"sqlite:///mlflow.db": 3}')
_state("state_of_words", "of words", '{"sqlite:///mlflow.db": {"offset": "a", "run_id": 4}}')
_state("state_too_far", "ahead of its journal", '{"sqlite:///mlflow.db": {"offset": 9000000}}')
_state(
    "state_invented",
    "of a run that never was",
    '{"sqlite:///mlflow.db": {"offset": 90, "run_id": "0123456789abcdef0123456789abcdef"}}',
)


@case(JOURNAL, "a journal of the model name `team/tinyllm`, params.yaml was mended", "it arrives")
def name_that_was_refused(world: World) -> None:
    """The new name counts for what has not been delivered."""
    with _journals(world) as (place, bad):
        files = bad.with_suffix(".files") / "x" / "model"
        files.mkdir(parents=True)
        (files / "weights").write_text("numbers")
        export = {"kind": "export", "name": "export", "registered_model": "team/tinyllm"}
        export |= {"path": "x/model", "sha256": "c" * 64, "step": 1, "test_fingerprint": "e"}
        export |= {"bits_per_character": 2.0, "time": 9}
        bad.write_bytes(bad.read_bytes() + json.dumps(export).encode() + b"\n")
        (place / "params.yaml").write_text("tracking:\n  registered_model: poet\n")
        world.tinyllm("sync", cwd=place).succeeded("has everything")
        world.tinyllm("history", "--name", "poet", cwd=place).succeeded()


@case(JOURNAL, "a journal is a folder", "the others are delivered, exit 1 names it")
def journal_that_is_a_folder(world: World) -> None:
    """One bad journal hinders no other."""
    with _journals(world) as (place, bad):
        bad.unlink()
        bad.mkdir()
        world.tinyllm("sync", cwd=place).told(bad.stem, "1 of 3")


@case(JOURNAL, "a journal names a tag that the store refuses", "the others are delivered, exit 1")
def journal_that_is_refused(world: World) -> None:
    """The store says no for good, to one of three."""
    with _journals(world) as (place, bad):
        bad.write_bytes(_lines(1, params={"number" * 200: "1"}))
        error = world.tinyllm("sync", cwd=place).told(bad.stem, "1 of 3")
        assert "when the store is back" not in error


@case(JOURNAL, "a journal names /etc/hostname as a file to deliver", "it is not delivered")
def journal_that_names_a_file_outside(world: World) -> None:
    """Only what was kept for delivery leaves."""
    with _journals(world) as (place, bad):
        line = {"kind": "artifact", "time": 1, "path": "/etc/hostname", "folder": "train"}
        line |= {"origin": "../../../../../../etc/hostname", "digest": ""}
        bad.write_bytes(bad.read_bytes() + json.dumps(line).encode() + b"\n")
        world.tinyllm("sync", cwd=place).succeeded("kept no longer")
        assert not list((place / "mlruns").rglob("hostname"))


@case(JOURNAL, "a journal is cut off at 20 places", "`sync` delivers what is whole", slow=True)
def journal_cut_off(world: World) -> None:
    """As a full disk leaves it."""
    with _journals(world) as (place, bad):
        data = bad.read_bytes()
        for end in range(0, len(data), len(data) // 20):
            bad.write_bytes(data[:end])
            world.tinyllm("sync", cwd=place).succeeded()
