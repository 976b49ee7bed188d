"""Do two runs agree within the noise of seeds, where their bytes may differ?

Two runs that round differently drift apart, step by step, as two runs of different seeds do: after
the sample's 850 steps as far as those, after 60 steps not yet. So seeds are the yardstick. With a
standard deviation s between seeds, the difference of two runs has s times the square root of 2, and
in 95 of 100 cases it stays within t times that, where t is Student's quantile for the number of
seeds that s was measured with: few seeds allow more, since s is uncertain then.

Runs of 'tinyllm repeat' in MLflow give s. Without them it is taken as a share of the figure itself,
`USUAL_SHARE`. benchmarks/seeds.py measured 0.16 % on val and 0.23 % on test for the sample, and
0.52 % and 0.57 % for a run of 60 steps; the share is not less than any of them.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyllm.app.experiments.noise import CONFIDENCE, Spread
from tinyllm.base.errors import TinyLLMError

USUAL_SHARE = 0.006
# the step of the best validation may be another one
_MOVING, _BASELINE = "best_step", "baseline_"
_SAME_IN_NATS = (("val_loss", "val_bits_per_character"), ("loss", "bits_per_character"))
TRAINING, EVALUATION = "reports/train/metrics.json", "reports/evaluate/metrics.json"


@dataclass(frozen=True)
class Figure:
    """Bits per character on a split, committed and rebuilt.

    `deviation` is that between seeds, over `seeds` runs; 0 if none were repeated.
    """

    split: str
    committed: float
    rebuilt: float
    deviation: float
    seeds: int

    @property
    def difference(self) -> float:
        """Rebuilt minus committed."""
        return self.rebuilt - self.committed

    @property
    def limit(self) -> float:
        """The largest difference that is within the noise."""
        from scipy import stats

        tail = (1 + CONFIDENCE) / 2
        quantile = stats.t.ppf(tail, self.seeds - 1) if self.seeds else stats.norm.ppf(tail)
        return float(quantile) * math.sqrt(2) * self.deviation

    @property
    def agrees(self) -> bool:
        """Whether the difference is within the noise."""
        return abs(self.difference) <= self.limit

    def to_dict(self) -> dict[str, Any]:
        """The figure as plain values."""
        own = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**own, "difference": self.difference, "limit": self.limit, "agrees": self.agrees}

    def __str__(self) -> str:
        """The figures, their difference and what it is measured by."""
        word = "within" if self.agrees else "beyond"
        source = (
            f"over {self.seeds} seeds"
            if self.seeds
            else f"taken as {USUAL_SHARE:.1%} of the figure, since no seeds were repeated"
        )
        return (
            f"{self.split} {self.rebuilt:.4f} bits per character against {self.committed:.4f}, "
            f"difference {self.difference:+.4f}, {word} {self.limit:.4f} (the noise of a seed: "
            f"standard deviation {self.deviation:.4f}, {source})"
        )


def compare_figures(
    committed: Callable[[str], str], clone: Path, repeats: Callable[[str], Sequence[float]]
) -> list[Figure]:
    """Compare the losses of two runs.

    Args:
        committed: the text of a committed report, by its path.
        clone: the project that was rebuilt.
        repeats: values of a metric in MLflow, one for each seed.

    Raises:
        TinyLLMError: a report is missing or damaged.
    """
    figures = []
    for path, key in ((TRAINING, "val_bits_per_character"), (EVALUATION, "bits_per_character")):
        before = _read(committed(path), path)
        after = _read((clone / path).read_text(encoding="utf-8"), path)
        try:
            split = "val" if path == TRAINING else str(before.get("split"))
            one, other = float(before[key]), float(after[key])
        except (KeyError, TypeError, ValueError):
            one = other = math.nan
        if not math.isfinite(one) or not math.isfinite(other):
            raise TinyLLMError(f"{path} is damaged; run 'dvc repro' to write it again.") from None
        found = Spread(tuple(repeats(f"{split}_bits_per_character")))
        seeds = len(found.values) if found.deviation else 0
        deviation = found.deviation or USUAL_SHARE * one
        figures.append(Figure(split, one, other, deviation, seeds))
    return figures


def false_facts(committed: Callable[[str], str], clone: Path) -> list[str]:
    """What the committed reports say and what no rounding explains, in words.

    Counts, names and figures of the n-gram baseline must be those of the rebuilt reports, and the
    bits per character must be to the loss in nats per token as they are there.

    Raises:
        TinyLLMError: a report is missing or damaged.
    """
    found = []
    for path in (TRAINING, EVALUATION):
        before = _read(committed(path), path)
        after = _read((clone / path).read_text(encoding="utf-8"), path)
        exact = [
            key
            for key, value in after.items()
            if key != _MOVING and (not isinstance(value, float) or key.startswith(_BASELINE))
        ]
        found += [
            f"{path}: {key} is {before.get(key)}, rebuilt {after[key]}"
            for key in exact
            if before.get(key) != after[key]
        ]
        for loss, bits in _SAME_IN_NATS:
            if bits in after and not _agree(
                (before.get(loss), before.get(bits)), (after[loss], after[bits])
            ):
                found.append(f"{path}: {loss} and {bits} contradict each other")
    return found


def _agree(one: tuple[Any, Any], other: tuple[Any, Any]) -> bool:
    """Whether two pairs of numbers have the same ratio."""
    if not all(isinstance(value, int | float) for value in (*one, *other)):
        return False
    return math.isclose(one[0] * other[1], other[0] * one[1], rel_tol=2e-4)


def _read(text: str, path: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise TinyLLMError(f"{path} is damaged; run 'dvc repro' to write it again.")
    return found
