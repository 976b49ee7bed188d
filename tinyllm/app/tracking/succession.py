"""The history of a registered model's champions, kept in the registry itself.

Every change of the champion is a tag of the version that was crowned, named by its time, so that
every clone that sees the registry sees the same history.
"""

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

_CROWNED = "crowned."
_TIME = "%Y%m%dT%H%M%S.%fZ"


@dataclass(frozen=True)
class Crowning:
    """A version became champion: when, after whom, by what (gate, promote, rollback), and why."""

    time: str
    version: int
    before: int | None
    action: str
    why: str

    def to_dict(self) -> dict[str, Any]:
        """The event as plain values."""
        return asdict(self)


def crowning_tag(event: Crowning) -> tuple[str, str]:
    """The tag, name and value, that writes an event down."""
    time = dt.datetime.fromisoformat(event.time).astimezone(dt.UTC)
    details = {"before": event.before, "action": event.action, "why": event.why}
    return _CROWNED + time.strftime(_TIME), json.dumps(details)


def crownings(versions: Sequence[Any]) -> list[Crowning]:
    """Every change of the champion, the oldest first."""
    found = []
    for version in versions:
        for key, value in version.tags.items():
            if key.startswith(_CROWNED):
                time = dt.datetime.strptime(key.removeprefix(_CROWNED), _TIME)  # noqa: DTZ007 - it is, in the next line
                iso = time.replace(tzinfo=dt.UTC).isoformat(timespec="microseconds")
                found.append(Crowning(time=iso, version=int(version.version), **json.loads(value)))
    return sorted(found, key=lambda crowning: crowning.time)


def succession(events: Sequence[Crowning]) -> list[int]:
    """The champions that a rollback can go back through; the present one is the last."""
    line: list[int] = []
    for event in events:
        if event.action == "rollback":
            while line and line[-1] != event.version:
                line.pop()
        elif event.before is not None and event.before not in line:
            # crowned before changes were written down
            line.append(event.before)
        if not line or line[-1] != event.version:
            line.append(event.version)
    return line


def rolled_back(events: Sequence[Crowning]) -> set[int]:
    """Versions that were taken back, and not crowned again by a person since."""
    taken: set[int] = set()
    for event in events:
        taken.discard(event.version)
        if event.action == "rollback" and event.before is not None:
            taken.add(event.before)
    return taken
