"""Targets: journals, secrets, the registry and new files."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.campaign.fuzz import good
from tests.campaign.fuzz.draw import Draw, changed_bytes, changed_json
from tests.campaign.fuzz.target import target

_FINGERPRINT = "f" * 32
_EVENTS = [
    {"kind": "run", "time": 1, "stage": "train", "experiment": "e", "name": "n", "params": {},
     "tags": {}},
    {"kind": "status", "time": 2, "value": "RUNNING"},
    {"kind": "metrics", "time": 3, "step": 1, "values": {"val_loss": 2.5}},
    {"kind": "text", "time": 4, "text": "t", "file": "f"},
    {"kind": "artifact", "time": 5, "path": "/nowhere/x", "folder": "train"},
    {"kind": "status", "time": 6, "value": "FINISHED"},
]  # fmt: skip
_PLANTED = "Zq7PlantedSecret9x"
_JSON = (b"{", b"}", b"\n", b'"kind"', b'"metrics"', b'"run"', b'"status"', b"null")


class _Counting:
    """A store that takes everything."""

    def __init__(self, _uri: str = "") -> None:
        self.sent = 0

    def knows(self, _run_id: str, *, with_files: bool) -> bool:
        del with_files
        return True

    def has(self, _run_id: str, _event: Any) -> bool:
        return False

    def open_run(self, _fingerprint: str, _event: Any, *, trained_here: bool) -> str:
        del trained_here
        return "r1"

    def send_metrics(self, _run_id: str, events: Sequence[Any]) -> None:
        self.sent += len(events)

    def send(self, _run_id: str, _event: Any) -> None:
        self.sent += 1


def _journal(draw: Draw) -> Path:
    """A folder with a journal of which some lines, and its state, are changed."""
    place = good.empty("journal")
    lines = [json.dumps(event).encode() for event in _EVENTS]
    for _ in range(draw.byte() % 3):
        at = draw.number(len(lines))
        lines[at] = changed_json(_EVENTS[at], draw)
    whole = b"".join(line + b"\n" for line in lines)
    if draw.byte() & 1:
        whole = changed_bytes(whole, draw)
    (place / f"{_FINGERPRINT}.jsonl").write_bytes(whole)
    if draw.byte() & 1:
        state = {"http://127.0.0.1:1": {"offset": 80, "run_id": "r1"}}
        (place / f"{_FINGERPRINT}.state.json").write_bytes(changed_json(state, draw))
    return place


@target(b"\1\0\3\0\1\0", b"\0\1\4\4\0\1\3", b"\2\1\0\1\3", words=_JSON)
def journal(data: bytes) -> None:
    """A journal with damaged lines and a damaged state, read and continued."""
    from tinyllm.app.tracking.journal import Journal

    place = _journal(Draw(data))
    opened = Journal(place, _FINGERPRINT)
    list(opened.events())
    opened.add_metrics(opened.next_step("val_loss"), {"val_loss": 1.0})
    added, _ = list(opened.events())[-1]
    assert added["kind"] == "metrics"
    opened.pending("http://127.0.0.1:1")
    opened.close_to_others()


@target(b"\1\0\3\0\1\0", b"\0\1\4\4\0\1\3", b"\2\1\0\1\3", words=_JSON)
def delivery(data: bytes) -> None:
    """The same, delivered; nothing is sent a second time."""
    from tinyllm.app.tracking.delivery import Delivery
    from tinyllm.app.tracking.journal import Journal

    os.environ["MLFLOW_TRACKING_URI"] = "http://127.0.0.1:1"
    place = _journal(Draw(data))
    if Delivery(Journal(place, _FINGERPRINT), _Counting).deliver() is None:
        return
    store = _Counting()
    Delivery(Journal(place, _FINGERPRINT), lambda _: store).deliver()
    assert store.sent == 0


@target(b"\0", b"\1see ", b"\2?a=b&", b"\3x", words=(b"://", b"@", b"password=", b"***"), share=4.0)
def redaction(data: bytes) -> None:
    """A planted secret in any text, in each of the forms that a secret has."""
    from tinyllm.app.redaction import without_secrets

    draw = Draw(data)
    os.environ["MLFLOW_TRACKING_URI"] = f"postgresql://ana:{_PLANTED}@host/db"
    os.environ["MLFLOW_TRACKING_PASSWORD"] = _PLANTED + "too"
    forms = (
        _PLANTED,
        f"postgresql://ana:{_PLANTED}@host/db",
        f"http://bob:{_PLANTED[::-1]}@host",
        f"http://host/?password={_PLANTED[::-1]}",
        f"{_PLANTED}too",
    )
    text = draw.word() + draw.choose(forms) + draw.text()
    found = without_secrets(text)
    assert _PLANTED not in found
    assert _PLANTED[::-1] not in found


@target(b"error code 401", b"503 Server Error\n", b"too many 999", b"a" * 400, share=4.0)
def reasons(data: bytes) -> None:
    """What a server says, as the part of a sentence."""
    from tinyllm.app.tracking.reasons import reason

    found = reason(ValueError(data.decode("utf-8", "surrogateescape")))
    assert len(found) <= 300
    assert "\n" not in found


@target(b"\1\0", b"\2\3\1\1\1\2\3\1", share=2.0)
def registry_tags(data: bytes) -> None:
    """Versions whose tags anybody may have written."""
    from tinyllm.app.tracking.champion import figures, refusal
    from tinyllm.app.tracking.succession import promotions, rolled_back, succession

    draw = Draw(data)
    good_value = {"before": 1, "action": "promote", "why": "w"}
    versions = []
    for number in range(1, 2 + draw.byte() % 3):
        tags = {"test.fingerprint": draw.word(), "test.bits_per_character": draw.word() or "2.5"}
        time = "20260101T000000.000000Z" if draw.byte() & 1 else draw.word()
        tags[f"promoted.{time}"] = changed_json(good_value, draw).decode("utf-8", "replace")
        tags[f"judged.{draw.word()}"] = draw.word() or "1.5"
        versions.append(SimpleNamespace(version=str(number), tags=tags))
    events = promotions(versions)
    assert all(isinstance(number, int) for number in [*succession(events), *rolled_back(events)])
    for version in versions:
        figures(version)
    refusal(versions[-1], versions[0], 0.0)


@target(
    b"models:/x@champion", b"models:/x/1", b"runs:/x/y", b"models:/", b"/tmp", share=0.1, longest=80
)
def model_names(data: bytes) -> None:
    """A model's place, with an empty registry."""
    from tinyllm.app.commands.generate import open_model

    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{good.scratch() / 'registry.db'}"
    open_model(data.decode("utf-8", "surrogateescape"))


@target(
    b"\3a.pyx",
    b"\4.envA=1",
    b"\6key.pyhttp://a:b@c",  # pragma: allowlist secret
    b"\1x-----BEGIN PRIVATE KEY-----",  # pragma: allowlist secret
    share=2.0,
)
def patch_files(data: bytes) -> None:
    """New files, of which secret ones do not leave the machine."""
    from tinyllm.app.tracking import patch

    draw = Draw(data)
    name = draw.word().replace("\0", "").replace("/", "_")[:60] or "a.py"
    path = good.empty("new") / "file.py"
    path = path.with_name(name) if name not in (".", "..") else path
    token = draw.choose((b"", b"ghp_" + b"a" * 36, b"AKIA" + b"B" * 16, b"http://ana:Pw3rd9@host"))
    path.write_bytes(draw.rest() + b"\n" + token)
    size = patch._size_of_source(str(path))
    assert not token or size is None


@target(b"a: 1\nb: [2]", b'{"x": "y"}', share=1.0)
def state_of_abandoned(data: bytes) -> None:
    """Runs that look as if they were killed."""
    from tinyllm.app.tracking.abandoned import end_abandoned

    os.environ["DVC_ROOT"] = str(good.empty("root"))
    source = _journal(Draw(data))
    target_folder = good.scratch() / "root/.tinyllm/journal"
    target_folder.parent.mkdir()
    source.rename(target_folder)
    (target_folder / f"{_FINGERPRINT}.recording").write_bytes(b"")
    end_abandoned()
