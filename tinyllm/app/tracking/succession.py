"""The history of a registered model's champions, kept in the registry itself.

Every change of the champion is a tag of the promoted version, named after its time, so that every
clone that uses the registry has the same history.
"""

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from tinyllm.app.logger import get_logger

_PROMOTED = "promoted."
_TIME = "%Y%m%dT%H%M%S.%fZ"
_log = get_logger(__name__)


@dataclass(frozen=True)
class Promotion:
    """A version became champion: when, after which, by what (gate, promote, rollback), and why."""

    time: str
    version: int
    before: int | None
    action: str
    why: str

    def to_dict(self) -> dict[str, Any]:
        """The event as plain values."""
        return asdict(self)


class _Details(BaseModel):
    """The value of a tag, as `promotion_tag` writes it."""

    model_config = ConfigDict(strict=True)

    before: int | None
    action: str
    why: str


def promotion_tag(event: Promotion) -> tuple[str, str]:
    """Name and value of the tag that records an event."""
    time = dt.datetime.fromisoformat(event.time).astimezone(dt.UTC)
    details = {"before": event.before, "action": event.action, "why": event.why}
    return _PROMOTED + time.strftime(_TIME), json.dumps(details)


def promotions(versions: Sequence[Any]) -> list[Promotion]:
    """Every change of the champion, the oldest first; tags that tell none are left out."""
    found = []
    for version in versions:
        for key, value in version.tags.items():
            if key.startswith(_PROMOTED):
                try:
                    found.append(_read_promotion(int(version.version), key, value))
                except ValueError:
                    _log.warning("The tag %r of version %s is damaged.", key, version.version)
    return sorted(found, key=lambda promotion: promotion.time)


def _read_promotion(number: int, key: str, value: str) -> Promotion:
    """The event that a tag records.

    Raises:
        ValueError: the tag is damaged.
    """
    time = dt.datetime.strptime(key.removeprefix(_PROMOTED), _TIME)  # noqa: DTZ007 - the next line adds the zone
    iso = time.replace(tzinfo=dt.UTC).isoformat(timespec="microseconds")
    details = _Details.model_validate_json(value)
    return Promotion(iso, number, details.before, details.action, details.why)


def succession(events: Sequence[Promotion]) -> list[int]:
    """The champions that a rollback can go back through; the current one is the last."""
    line: list[int] = []
    for event in events:
        if event.action == "rollback":
            while line and line[-1] != event.version:
                line.pop()
        elif event.before is not None and event.before not in line:
            # promoted before changes were recorded
            line.append(event.before)
        if not line or line[-1] != event.version:
            line.append(event.version)
    return line


def rolled_back(events: Sequence[Promotion]) -> set[int]:
    """Versions that were rolled back, and not promoted again since."""
    taken: set[int] = set()
    for event in events:
        taken.discard(event.version)
        if event.action == "rollback" and event.before is not None:
            taken.add(event.before)
    return taken
