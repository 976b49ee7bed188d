"""Runs in MLflow that differ from a revision's only in their seed."""

from pathlib import Path

from tinyllm.app.params import flatten, parse_params
from tinyllm.app.reporting.revision import Revision
from tinyllm.app.tracking.queries import find_runs
from tinyllm.app.tracking.repeats import one_per_seed
from tinyllm.app.tracking.store import tracking_uri
from tinyllm.base.errors import TinyLLMError

_DECISIVE = ("prepare", "tokenize", "model", "train", "numerics")
_SEED = "train.seed"
_LOSS = "test_bits_per_character"


def repeated_losses(revision: Revision) -> list[float]:
    """Test losses of runs with the revision's parameters, one per seed; [] without MLflow."""
    store = tracking_uri()
    if store.startswith("sqlite:///") and not Path(store.removeprefix("sqlite:///")).is_file():
        return []
    try:
        params = flatten(parse_params(revision.text("params.yaml"), "params.yaml"))
        runs = find_runs(params["tracking.experiment"], limit=10_000)
    except TinyLLMError:
        return []
    wanted = {k: str(v) for k, v in params.items() if k.partition(".")[0] in _DECISIVE}
    wanted.pop(_SEED)
    like = [run for run in runs if wanted.items() <= run.params.items()]
    return [run.metrics[_LOSS] for run in one_per_seed(like, _LOSS)]
