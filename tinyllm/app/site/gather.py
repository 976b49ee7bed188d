"""What the site shows, read from MLflow: runs with their curves and texts, registered models."""

import contextlib
import dataclasses
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tinyllm.app.redaction import without_secrets, without_secrets_in
from tinyllm.app.tracking.address import database_path
from tinyllm.app.tracking.champion import CHAMPION, figures, find_versions
from tinyllm.app.tracking.queries import RunFacts, all_runs, best_first
from tinyllm.app.tracking.reasons import explained
from tinyllm.app.tracking.store import connect_to_read, shown_uri, tracking_uri
from tinyllm.app.tracking.succession import Promotion, promotions

# losses in bits per character that have a curve
CURVES = ("val_bits", "train_bits")
# of a curve that are drawn, and characters of a text
_MOST_POINTS, _LONGEST_TEXT = 120, 100_000
_RUNS_IN_A_FILTER = 100


@dataclass(frozen=True)
class RunRecord:
    """A run with what its page shows.

    Attributes:
        facts: as `tinyllm runs` knows them.
        curves: step and bits per character, by name of the loss.
        samples: text that the model wrote.
        patch: uncommitted changes that it was trained with.
        is_gone: some of its files cannot be read.
        champion_of: registered models whose champion it is.
    """

    facts: RunFacts
    curves: dict[str, list[tuple[int, float]]]
    samples: str = ""
    patch: str = ""
    is_gone: bool = False
    champion_of: tuple[str, ...] = ()


@dataclass(frozen=True)
class VersionRecord:
    """A version of a registered model; `registered` is in seconds since 1970."""

    number: int
    aliases: list[str]
    run_id: str
    registered: float
    tags: dict[str, str]
    bits: float | None
    card: str


@dataclass(frozen=True)
class ModelRecord:
    """A registered model: its versions and its changes of champion, both the newest first."""

    name: str
    versions: list[VersionRecord]
    promotions: list[Promotion]


@dataclass(frozen=True)
class Collection:
    """Everything of the site; `total` counts also the runs that are not shown."""

    experiment: str
    store: str
    runs: list[RunRecord] = field(default_factory=list)
    total: int = 0
    models: list[ModelRecord] = field(default_factory=list)


def gather(experiment: str, limit: int) -> Collection:
    """The best runs of an experiment, and the models that were registered from them.

    Raises:
        TinyLLMError: there is no store, or it does not answer.
    """
    found = best_first(all_runs(experiment) or [])
    client = connect_to_read()
    with explained(f"MLflow at {shown_uri()} does not answer that"):
        models = list(_models(client, [facts.run_id for facts in found[:limit]]))
        champions = {
            version.run_id: model.name
            for model in models
            for version in model.versions
            if CHAMPION in version.aliases
        }
        runs = [
            dataclasses.replace(
                _record(client, facts),
                champion_of=tuple(name for run, name in champions.items() if run == facts.run_id),
            )
            for facts in found[:limit]
        ]
    return Collection(without_secrets(experiment), _store_name(), runs, len(found), models)


def _store_name() -> str:
    # where a file lies is nobody's business
    path = database_path(tracking_uri())
    return shown_uri() if path is None else path.name


def _record(client: Any, facts: RunFacts) -> RunRecord:
    curves = {name: _curve(client, facts.run_id, name) for name in CURVES if name in facts.metrics}
    wanted = {
        "evaluate/samples.txt": "test_bits_per_character" in facts.metrics,
        "lineage/train/uncommitted.patch": facts.tags.get("git.uncommitted") == "yes",
    }
    texts = [
        _text(client, facts.run_id, place) if is_there else "" for place, is_there in wanted.items()
    ]
    samples, patch = (without_secrets(text or "") for text in texts)
    return RunRecord(_without_secrets(facts), curves, samples, patch, is_gone=None in texts)


def _without_secrets(facts: RunFacts) -> RunFacts:
    return dataclasses.replace(
        facts,
        name=without_secrets(facts.name),
        params=without_secrets_in(facts.params),
        tags=without_secrets_in(facts.tags),
        data={
            split: (without_secrets(name), digest) for split, (name, digest) in facts.data.items()
        },
    )


def _curve(client: Any, run_id: str, name: str) -> list[tuple[int, float]]:
    """A loss in bits per character by step; of many points, evenly chosen ones and the last."""
    history = client.get_metric_history(run_id, name)
    points = sorted({point.step: point.value for point in history}.items())
    stride = max(1, math.ceil(len(points) / _MOST_POINTS))
    chosen = points[::-stride][::-1]
    return [(step, value) for step, value in chosen if math.isfinite(value)]


def _text(client: Any, run_id: str, place: str) -> str | None:
    """A text among a run's files; None if it cannot be read."""
    # whatever a store of files raises: the page says that they are gone
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(Exception):
        path = Path(client.download_artifacts(run_id, place, folder))
        with path.open(encoding="utf-8", errors="replace") as file:
            text = file.read(_LONGEST_TEXT)
            return text + ("\n…" if file.read(1) else "")
    return None


def _models(client: Any, run_ids: Sequence[str]) -> Iterator[ModelRecord]:
    names: set[str] = set()
    for first in range(0, len(run_ids), _RUNS_IN_A_FILTER):
        chosen = ", ".join(f"'{run_id}'" for run_id in run_ids[first : first + _RUNS_IN_A_FILTER])
        names |= {one.name for one in client.search_model_versions(f"run_id IN ({chosen})")}
    for name in sorted(names):
        aliases = client.get_registered_model(name).aliases
        versions = find_versions(client, name)
        yield ModelRecord(
            without_secrets(name),
            [_version(version, aliases) for version in reversed(versions)],
            list(reversed(promotions(versions))),
        )


def _version(version: Any, aliases: dict[str, Any]) -> VersionRecord:
    number = int(version.version)
    return VersionRecord(
        number=number,
        aliases=sorted(alias for alias, other in aliases.items() if int(other) == number),
        run_id=version.run_id or "",
        registered=version.creation_timestamp / 1000,
        tags=without_secrets_in(dict(version.tags)),
        bits=next(iter(figures(version).values()), None),
        card=without_secrets(version.description or ""),
    )
