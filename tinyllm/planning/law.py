"""The law of the loss: a linear regression on the terms, with what it does not know.

Coefficients have a normal distribution: an expected one (`tinyllm.planning.terms`) that the
measured runs of benchmarks/scaling/runs.csv narrow. Every text may lie a little off, by the same
factor for all of its runs, so runs of a text that nobody has seen before teach the law that factor
too. This is Bayesian linear regression with a random intercept (Bishop, Pattern Recognition and
Machine Learning, 3.3); its evidence chooses both deviations.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tinyllm.base.errors import TinyLLMError
from tinyllm.planning.points import Array, Points
from tinyllm.planning.terms import TERMS, term_values
from tinyllm.planning.texts import TextFacts

FITTED = Path(__file__).with_name("law.json")
# standard deviations of ln(loss) that are tried: between runs of a text, and between texts
_NOISES = (0.006, 0.01, 0.015, 0.02, 0.03, 0.045)
_OFFSETS = (0.01, 0.02, 0.04, 0.07, 0.1, 0.15)


@dataclass(frozen=True)
class Law:
    """Distribution of the coefficients, and what remains.

    Attributes:
        mean: of the coefficients, [terms].
        covariance: of them, [terms, terms].
        noise: standard deviation of ln(loss) between runs of one text.
        offset: standard deviation between texts.
        ranges: least and largest value of each quantity that was measured, by its name.
    """

    mean: Array
    covariance: Array
    noise: float
    offset: float
    ranges: Mapping[str, tuple[float, float]]

    def predict(self, text: TextFacts, points: Points, steps: Any) -> tuple[Array, Array]:
        """Expected losses in nats per token, [runs], and by which ratio they may be off, [runs].

        The ratio is one standard deviation.
        """
        terms = term_values(text, points, steps)
        logs = terms @ self.mean
        variances = np.einsum("rt,ts,rs->r", terms, self.covariance, terms)
        return text.anchor * np.exp(logs), np.sqrt(variances + self.offset**2 + self.noise**2)

    def learn(self, text: TextFacts, points: Points, steps: Any, losses: Sequence[float]) -> "Law":
        """The law after some runs of one text, for other runs of it.

        Args:
            text: the text.
            points: of the runs.
            steps: of each.
            losses: what they reached, in nats per token.
        """
        terms = term_values(text, points, steps)
        found = np.log(np.asarray(losses) / text.anchor)
        # the factor of the text becomes a part of the constant term
        wide = self.covariance.copy()
        wide[0, 0] += self.offset**2
        mean, covariance = _narrowed(self.mean, wide, terms, found, self.noise)
        return replace(self, mean=mean, covariance=covariance, offset=0.0)

    @classmethod
    def fit(cls, rows: Sequence[Mapping[str, Any]]) -> Self:
        """Fit the law to measured runs; see `benchmarks/scaling/runs.csv` for their columns."""
        data = _Runs.of(rows)
        noise, offset = max(
            ((noise, offset) for noise in _NOISES for offset in _OFFSETS),
            key=lambda pair: data.evidence(*pair),
        )
        mean, covariance = data.posterior(noise, offset)
        return cls(mean, covariance, noise, offset, _ranges(rows))

    @classmethod
    def load(cls, path: Path = FITTED) -> Self:
        """Read a law.

        Raises:
            TinyLLMError: it was fitted to other terms.
        """
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["terms"] != list(TERMS):
            raise TinyLLMError(
                f"{path} was fitted to other terms than those of tinyllm/planning/terms.py; run "
                f"'python benchmarks/scaling/fit.py'."
            )
        arrays = np.array(found["mean"]), np.array(found["covariance"])
        ranges = {name: (low, high) for name, (low, high) in found["ranges"].items()}
        return cls(*arrays, found["noise"], found["offset"], ranges)

    def to_json(self) -> str:
        """The law as text, with numbers of six digits."""

        def short(values: Any) -> Any:
            return [short(v) for v in values] if np.ndim(values) else float(f"{values:.6g}")

        found = {
            "terms": list(TERMS),
            "mean": short(self.mean),
            "noise": self.noise,
            "offset": self.offset,
            "ranges": {name: short(pair) for name, pair in self.ranges.items()},
            "covariance": short(self.covariance),
        }
        lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in found.items()]
        return "{\n" + ",\n".join(lines) + "\n}\n"


@dataclass(frozen=True)
class _Runs:
    """Measured runs: terms [runs, terms], ln(loss / anchor) [runs], which text each is of."""

    terms: Array
    found: Array
    texts: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]]) -> Self:
        names = sorted({row["text"] for row in rows})
        columns = {
            key: np.array([float(row[key]) for row in rows]) for key in rows[0] if key != "text"
        }
        terms = term_values(columns, columns, columns["steps"])
        found = np.log(columns["loss"] / columns["anchor"])
        return cls(terms, found, np.array([names.index(row["text"]) for row in rows]))

    def _wide(self, offset: float) -> tuple[Array, Array, Array]:
        """Terms with a column for each text, and the expected mean and covariance of all."""
        texts = np.eye(self.texts.max() + 1)[self.texts]
        means = [mean for _, mean, _ in TERMS.values()] + [0.0] * texts.shape[1]
        deviations = [deviation for *_, deviation in TERMS.values()] + [offset] * texts.shape[1]
        terms = np.concatenate([self.terms, texts], axis=1)
        return terms, np.array(means), np.diag(np.square(deviations))

    def posterior(self, noise: float, offset: float) -> tuple[Array, Array]:
        """Mean and covariance of the coefficients of the terms."""
        terms, mean, covariance = self._wide(offset)
        mean, covariance = _narrowed(mean, covariance, terms, self.found, noise)
        size = len(TERMS)
        return mean[:size], covariance[:size, :size]

    def evidence(self, noise: float, offset: float) -> float:
        """Logarithm of the probability of what was found, but for a constant."""
        terms, mean, covariance = self._wide(offset)
        spread = terms @ covariance @ terms.T + noise**2 * np.eye(len(terms))
        off = self.found - terms @ mean
        _, size = np.linalg.slogdet(spread)
        return float(-0.5 * (off @ np.linalg.solve(spread, off) + size))


def _narrowed(
    mean: Array, covariance: Array, terms: Array, found: Array, noise: float
) -> tuple[Array, Array]:
    """Mean and covariance of coefficients after observations."""
    spread = terms @ covariance @ terms.T + noise**2 * np.eye(len(terms))
    gain = np.linalg.solve(spread, terms @ covariance).T
    narrowed = covariance - gain @ terms @ covariance
    return mean + gain @ (found - terms @ mean), (narrowed + narrowed.T) / 2


def _ranges(rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, float]]:
    """What was measured, from the least to the largest."""
    found = {}
    for key in rows[0]:
        if key != "text":
            values = [float(row[key]) for row in rows]
            found[key] = (min(values), max(values))
    return found


def error_of(expected: Array, reached: Array) -> tuple[float, float]:
    """Root mean square and largest error of expected losses, as ratios."""
    off = np.log(expected / reached)
    return math.sqrt(float(np.mean(off**2))), float(np.abs(off).max())
