"""Is a change of the test loss larger than the noise?"""

import math
import statistics
from collections.abc import Mapping, Sequence


def verdict(
    base: float,
    head: float,
    repeats: Sequence[float] = (),
    positions: tuple[Mapping[str, float], Mapping[str, float]] = ({}, {}),
) -> str:
    """One sentence on two losses in bits per character; noise is taken as two standard errors.

    Args:
        base: of the base.
        head: of the change.
        repeats: of the base trained anew with other seeds, if there are any.
        positions: of both, by characters of context: a paired sample of the same test text.
    """
    change = head - base
    source, noise = _noise(repeats, positions)
    if noise is None:
        return (
            f"The change is {change:+.4f} bits per character; how large the noise is, is unknown."
        )
    word = "better" if change < 0 else "worse"
    finding = f"is {word} beyond the noise" if abs(change) > noise else "is within the noise"
    return f"The change of {change:+.4f} bits per character {finding} ({noise:.4f}, {source})."


def _noise(
    repeats: Sequence[float], positions: tuple[Mapping[str, float], Mapping[str, float]]
) -> tuple[str, float | None]:
    if len(repeats) > 1:
        # both sides are one run each, so the variance counts twice
        spread = statistics.stdev(repeats) * math.sqrt(2)
        return f"two standard deviations between runs, from {len(repeats)} seeds", 2 * spread
    pairs = [
        positions[1][place] - value
        for place, value in positions[0].items()
        if place in positions[1]
    ]
    if len(pairs) > 1:
        error = statistics.stdev(pairs) / math.sqrt(len(pairs))
        return "two standard errors on this test text; noise between seeds is unknown", 2 * error
    return "", None
