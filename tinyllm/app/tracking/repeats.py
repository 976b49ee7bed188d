"""Runs in MLflow that differ only in the seed."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tinyllm.app.params import flatten
from tinyllm.app.tracking.lineage import CONFIGURATION_TAG
from tinyllm.app.tracking.names import quoted
from tinyllm.app.tracking.queries import RunFacts, find_run, find_runs
from tinyllm.app.tracking.reasons import explained
from tinyllm.app.tracking.store import connect_to_read, shown_uri, tracking_uri
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.section import Section

_SEED = "train.seed"


def find_repeats(experiment: str, text: str, metric: str) -> list[RunFacts]:
    """The run that `text` names and all that differ from it only in the seed.

    Raises:
        TinyLLMError: there is no such run, or none of them has the metric.
    """
    named = find_run(experiment, text)
    client = connect_to_read()
    with explained(f"MLflow at {shown_uri()} does not answer that"):
        tag = client.get_run(named.run_id).data.tags.get(CONFIGURATION_TAG)
    where = f"tags.`{CONFIGURATION_TAG}` = {quoted(str(tag))}"
    found = find_runs(experiment, where=where, limit=10_000) if tag else [named]
    repeats = one_per_seed(found, metric)
    if not repeats:
        raise TinyLLMError(f"No run like {named.name} has the metric {metric}.")
    return repeats


def repeated_values(
    params: Mapping[str, Section], sections: Sequence[str], metric: str
) -> list[float]:
    """Values of a metric in runs with the same parameters but the seed, one for each seed.

    Args:
        params: all sections of params.yaml.
        sections: those that have to be the same.
        metric: its name in MLflow.

    Returns:
        The values; none without a store that answers.
    """
    store = tracking_uri()
    if store.startswith("sqlite:///") and not Path(store.removeprefix("sqlite:///")).is_file():
        return []
    flat = flatten(params)
    wanted = {key: str(value) for key, value in flat.items() if key.partition(".")[0] in sections}
    wanted.pop(_SEED)
    try:
        runs = find_runs(flat["tracking.experiment"], limit=10_000)
    except TinyLLMError:
        return []
    like = [run for run in runs if wanted.items() <= run.params.items()]
    return [run.metrics[metric] for run in one_per_seed(like, metric)]


def one_per_seed(runs: Iterable[RunFacts], metric: str) -> list[RunFacts]:
    """Runs that have the metric, one for each seed."""
    by_seed = {run.params.get(_SEED, run.run_id): run for run in runs if metric in run.metrics}
    return [by_seed[seed] for seed in sorted(by_seed, key=lambda seed: (len(seed), seed))]
