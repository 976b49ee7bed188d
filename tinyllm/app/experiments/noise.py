"""Is one better than the other, or is it noise between seeds? All values are losses.

Two groups of runs are compared by Welch's t-test; a single run before and one after a change, by
the spread between seeds if known, else by the characters of the same test text.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Spread:
    """Losses of runs that differ only in the seed."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float | None:
        """The sample standard deviation, None for a single run."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def to_dict(self) -> dict[str, Any]:
        """The spread as plain values."""
        own = {"mean": self.mean, "standard_deviation": self.deviation, "runs": len(self.values)}
        return {**own, "values": list(self.values)}

    def __str__(self) -> str:
        """Mean and standard deviation."""
        runs = f"{len(self.values)} seed{'s' if len(self.values) > 1 else ''}"
        around = "" if self.deviation is None else f" ± {self.deviation:.4f}"
        return f"{self.mean:.4f}{around} ({runs})"


@dataclass(frozen=True)
class Verdict:
    """The result of Welch's t-test; `difference` is second minus first.

    `interval` is the 95 % confidence interval of the difference, `p` is two-sided; both are None
    if there are too few runs. `winner` is `first`, `second`, or None.
    """

    difference: float
    p: float | None
    interval: tuple[float, float] | None
    winner: str | None
    statement: str

    def to_dict(self) -> dict[str, Any]:
        """The verdict as plain values."""
        return asdict(self)


def judge_difference(
    first: Sequence[float], second: Sequence[float], names: tuple[str, str] = ("A", "B")
) -> Verdict:
    """Compare the means of two groups of losses; lower is better.

    Args:
        first: losses of the first configuration, one per seed.
        second: those of the second.
        names: of the two.
    """
    one, other = Spread(tuple(first)), Spread(tuple(second))
    difference = other.mean - one.mean
    if one.deviation is None or other.deviation is None:
        few = " and ".join(
            name for name, of in zip(names, (one, other), strict=True) if of.deviation is None
        )
        text = f"Nothing can be said: {few} ran with one seed only ('tinyllm repeat' runs more)."
        return Verdict(difference, None, None, None, text)
    if one.deviation == other.deviation == 0:
        # no noise at all, as for configurations that do not use the seed
        p, interval = float(difference == 0), (difference, difference)
    else:
        p, interval = _welch(first, second)
    if p >= 1 - CONFIDENCE:
        text = f"{names[1]} and {names[0]} cannot be told apart from noise"
        winner = None
    else:
        winner = "second" if difference < 0 else "first"
        better, worse = names if difference > 0 else names[::-1]
        text = f"{better} is better than {worse} beyond the noise"
    low, high = interval
    text += (
        f": {names[1]} minus {names[0]} is {difference:+.4f}, "
        f"{CONFIDENCE:.0%} between {low:+.4f} and {high:+.4f} (p = {p:.2g})."
    )
    return Verdict(difference, p, interval, winner, text)


def judge_change(
    base: float,
    head: float,
    repeats: Sequence[float] = (),
    positions: tuple[Mapping[str, float], Mapping[str, float]] = ({}, {}),
) -> str:
    """One sentence on two losses in bits per character; noise means two standard errors.

    Args:
        base: loss of the base.
        head: loss of the change.
        repeats: losses of the base trained with other seeds, if any.
        positions: losses of both by tokens of context: a paired sample of the test text.
    """
    change = head - base
    source, noise = _noise(Spread(tuple(repeats)), positions)
    if noise is None:
        return (
            f"The change is {change:+.4f} bits per character; how large the noise is, is unknown."
        )
    word = "better" if change < 0 else "worse"
    finding = f"is {word} beyond the noise" if abs(change) > noise else "is within the noise"
    return f"The change of {change:+.4f} bits per character {finding} ({noise:.4f}, {source})."


def _noise(
    repeats: Spread, positions: tuple[Mapping[str, float], Mapping[str, float]]
) -> tuple[str, float | None]:
    if repeats.deviation is not None:
        # both sides are one run each, so the variance counts twice
        spread = repeats.deviation * math.sqrt(2)
        runs = len(repeats.values)
        return f"two standard deviations between runs, from {runs} seeds", 2 * spread
    one, other = positions
    pairs = Spread(tuple(other[place] - one[place] for place in one if place in other))
    if pairs.deviation is not None:
        error = pairs.deviation / math.sqrt(len(pairs.values))
        return "two standard errors on this test text; noise between seeds is unknown", 2 * error
    return "", None


def _welch(first: Sequence[float], second: Sequence[float]) -> tuple[float, tuple[float, float]]:
    from scipy import stats

    result = stats.ttest_ind(list(second), list(first), equal_var=False)
    interval = result.confidence_interval(CONFIDENCE)
    return float(result.pvalue), (float(interval.low), float(interval.high))
