"""Runs in MLflow that differ from a revision's only in their seed."""

from tinyllm.app.params import parse_params
from tinyllm.app.reporting.revision import Revision
from tinyllm.app.tracking.repeats import repeated_values
from tinyllm.base.errors import TinyLLMError

_DECISIVE = ("prepare", "tokenize", "model", "train", "numerics")


def repeated_losses(revision: Revision) -> list[float]:
    """Test losses of runs with the revision's parameters, one per seed; [] without MLflow."""
    try:
        params = parse_params(revision.text("params.yaml"), "params.yaml")
    except TinyLLMError:
        return []
    return repeated_values(params, _DECISIVE, "test_bits_per_character")
