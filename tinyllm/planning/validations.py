"""How often and how much a run validates, so that it costs a few hundredths of the time."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyllm.planning.points import Points, step_tokens

# validations of a run, tokens of each, and of the one at the end
COUNT = 10
_MOST, _FEWEST = 120_000, 10_000
_MOST_AT_END = 10_000_000
# of the budget, for all of them together, and for the one at the end
_SHARE, _SHARE_AT_END = 0.04, 0.04
# a forward pass against a whole step
_FORWARD = 0.4


@dataclass(frozen=True)
class Validations:
    """Tokens that the validations of runs read, and their seconds in all, [runs]."""

    tokens: Any
    tokens_at_end: Any
    seconds: Any


def plan_validations(
    points: Points, step_seconds: Any, val_tokens: int, budget: float
) -> Validations:
    """Choose how much is read.

    Args:
        points: of the runs.
        step_seconds: of a step of each, [runs].
        val_tokens: of the validation split.
        budget: seconds of a run.
    """
    each = _FORWARD * step_seconds / step_tokens(points)
    fits = _SHARE * budget / COUNT / each
    tokens = np.minimum(np.clip(fits, _FEWEST, _MOST), val_tokens)
    at_end = np.minimum(np.clip(_SHARE_AT_END * budget / each, tokens, _MOST_AT_END), val_tokens)
    more = np.where(at_end > tokens, at_end, 0)
    return Validations(tokens, at_end, each * (COUNT * tokens + more))
