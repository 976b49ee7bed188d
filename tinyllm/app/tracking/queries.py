"""Runs read from MLflow, and the differences between two of them."""

import csv
import difflib
import math
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tinyllm.app.tracking.abandoned import deliver_abandoned
from tinyllm.app.tracking.differences import differing
from tinyllm.app.tracking.lineage import PARENT_TAG
from tinyllm.app.tracking.origin import data_of
from tinyllm.app.tracking.reasons import explained
from tinyllm.app.tracking.store import connect_to_read, shown_uri
from tinyllm.base.errors import TinyLLMError

# metrics to rank runs by, the most important first; all are losses
SCORES = ("test_bits_per_character", "val_bits_per_character", "best_val_loss", "val_loss")
_SHORTEST_ID = 4
# that are looked at
MOST_RUNS = 10_000


@dataclass(frozen=True)
class RunFacts:
    """One run.

    `started` and `ended` are in seconds since 1970, `ended` is None for a run that goes on; `data`
    maps a split to the name of its text and its digest.
    """

    run_id: str
    name: str
    status: str
    started: float
    params: dict[str, str]
    metrics: dict[str, float]
    ended: float | None = None
    tags: dict[str, str] = field(default_factory=dict)
    data: dict[str, tuple[str, str]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The run as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Comparison:
    """What differs between two runs: parameters, metrics, loss by position; and their samples.

    `params` and `metrics` map names to the values of both, None if missing; `positions` maps
    tokens of context to bits per character; `samples` are from the evaluation.
    """

    runs: tuple[RunFacts, RunFacts]
    params: dict[str, tuple[str | None, str | None]]
    metrics: dict[str, tuple[float | None, float | None]]
    positions: dict[str, tuple[float | None, float | None]]
    samples: tuple[str, str]

    def to_dict(self) -> dict[str, Any]:
        """The comparison as plain values."""
        return asdict(self)


def find_runs(
    experiment: str, *, where: str = "", sort: str | None = None, limit: int = 20
) -> list[RunFacts]:
    """The runs of an experiment, the best first; those without the metric come last.

    Args:
        experiment: its name.
        where: MLflow's filter, such as `params.`train.optimizer` = 'muon'`.
        sort: the metric to sort by, ascending; the first of `SCORES` that any run has if None.
        limit: how many to return.

    Raises:
        TinyLLMError: the store cannot be reached, has no such experiment, or the filter is wrong.
    """
    runs = _search(experiment, where)
    known = sorted({key for run in runs for key in run.metrics})
    if sort and runs and sort not in known:
        close = difflib.get_close_matches(sort, known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise TinyLLMError(f"No run of {experiment} has a metric {sort!r}{hint}.")
    keys = [sort] if sort else [key for key in SCORES if any(key in run.metrics for run in runs)]
    return best_first(runs, keys)[:limit]


def best_first(runs: Iterable[RunFacts], keys: Sequence[str] = SCORES) -> list[RunFacts]:
    """Runs by these metrics, ascending, the first metric counting most; last what is no number."""

    def rank(run: RunFacts) -> list[float]:
        values = [run.metrics.get(key, math.inf) for key in keys]
        return [math.inf if math.isnan(value) else value for value in values]

    return sorted(runs, key=rank)


def find_run(experiment: str, text: str) -> RunFacts:
    """The run with an id, a prefix of it, a name, or the name of its DVC experiment.

    Raises:
        TinyLLMError: there is none, or more than one.
    """
    runs = _search(experiment, "")
    found = [run for run in runs if text in (run.run_id, run.name)]
    # the name of an experiment's run begins with the experiment's
    found = found or [run for run in runs if run.name.partition(" ")[0] == text]
    if not found and len(text) >= _SHORTEST_ID:
        found = [run for run in runs if run.run_id.startswith(text)]
    if len(found) == 1:
        return found[0]
    problem = "more than one run" if found else "no run"
    ids = f" ({', '.join(run.run_id[:8] for run in found)})" if found else ""
    raise TinyLLMError(
        f"There is {problem} '{text}' in experiment {experiment}{ids}; 'tinyllm runs' lists the "
        f"ids, of which the first {_SHORTEST_ID} characters or more are enough."
    )


def differing_params(runs: Sequence[RunFacts]) -> list[str]:
    """Parameters that are not the same in all runs, by name."""
    return differing([run.params for run in runs])


def compare_runs(first: RunFacts, second: RunFacts) -> Comparison:
    """Compare two runs; reads their evaluation from MLflow's artifacts."""
    metrics = sorted({*first.metrics, *second.metrics})
    reports = [_evaluation(run.run_id) for run in (first, second)]
    places = dict.fromkeys(place for positions, _ in reports for place in positions)
    return Comparison(
        runs=(first, second),
        params={
            name: (first.params.get(name), second.params.get(name))
            for name in differing_params([first, second])
        },
        metrics={
            name: (first.metrics.get(name), second.metrics.get(name))
            for name in metrics
            if first.metrics.get(name) != second.metrics.get(name)
        },
        positions={place: (reports[0][0].get(place), reports[1][0].get(place)) for place in places},
        samples=(reports[0][1], reports[1][1]),
    )


def all_runs(experiment: str, where: str = "") -> list[RunFacts] | None:
    """The runs of an experiment, the newest first; None if there is no such experiment.

    Raises:
        TinyLLMError: the store cannot be reached, or the filter is wrong.
    """
    client = connect_to_read()
    with explained(f"MLflow at {shown_uri()} does not answer that"):
        deliver_abandoned()
        found = client.get_experiment_by_name(experiment)
        if found is None:
            return None
        runs = client.search_runs([found.experiment_id], filter_string=where, max_results=MOST_RUNS)
    return [_facts(run) for run in runs if PARENT_TAG not in run.data.tags]


def _search(experiment: str, where: str) -> list[RunFacts]:
    runs = all_runs(experiment, where)
    if runs is None:
        raise TinyLLMError(
            f"There is no experiment '{experiment}' in {shown_uri()} yet; 'dvc repro' makes the "
            f"first run."
        )
    return runs


def _facts(run: Any) -> RunFacts:
    return RunFacts(
        run_id=run.info.run_id,
        name=run.info.run_name or "",
        status=run.info.status,
        started=run.info.start_time / 1000,
        params=dict(run.data.params),
        metrics=dict(run.data.metrics),
        ended=run.info.end_time / 1000 if run.info.end_time else None,
        tags=dict(run.data.tags),
        data=data_of(run),
    )


def _evaluation(run_id: str) -> tuple[dict[str, float], str]:
    """Loss by position and samples; both empty if the run was not evaluated."""
    import mlflow
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory() as folder:
        try:
            place = mlflow.artifacts.download_artifacts(
                run_id=run_id, artifact_path="evaluate", dst_path=folder
            )
            rows = csv.DictReader((Path(place) / "positions.csv").read_text("utf-8").splitlines())
            positions = {row["context"]: float(row["bits"]) for row in rows}
            samples = (Path(place) / "samples.txt").read_text("utf-8")
        except (MlflowException, OSError, KeyError, TypeError, ValueError):
            return {}, ""
    return positions, samples
