"""The law of the loss: a linear regression on the terms, with what it does not know.

Coefficients have a normal distribution: an expected one (`tinyllm.planning.terms`) that the
measured runs of benchmarks/scaling/runs.csv narrow. Every text lies a little off, by a factor and
in how much each choice matters to it, so short runs of a text that nobody has seen before teach
the law that text, and most about runs that are alike. This is Bayesian linear regression with
random effects (Bishop, Pattern Recognition and Machine Learning, 3.3); its evidence chooses all
deviations.
"""

import itertools
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
from tinyllm.planning.terms import BOUNDED, OF_TEXT, TERMS, Facts, quantities, term_values
from tinyllm.planning.texts import TextFacts

FITTED = Path(__file__).with_name("law.json")
# standard deviations of ln(loss) that are tried: between runs of a text, and between texts
_NOISES = (0.005, 0.01, 0.015, 0.02, 0.03, 0.045)
_OFFSETS = (0.01, 0.03, 0.06, 0.1, 0.15)
# by which texts differ in a coefficient, as a share of how far that may be from the expected one
_VARIETIES = (0.1, 0.2, 0.35, 0.5)
# how far beyond what was measured a run may lie, in logarithms
_BEYOND = 0.2
# share of the runs whose quantities count as the outermost
_OUTER = 0.03
_ONE = list(TERMS).index("one")
_EXPECTED, _DEVIATIONS = (np.array([term[place] for term in TERMS.values()]) for place in (1, 2))
# a term that only the text decides is a part of its factor
_CHOSEN = np.array([name not in OF_TEXT for name in TERMS])


@dataclass(frozen=True)
class Law:
    """Distribution of the coefficients, and what remains.

    Attributes:
        mean: of the coefficients, [terms].
        covariance: of them, [terms, terms].
        noise: standard deviation of ln(loss) between runs of one text.
        offset: standard deviation between texts.
        variety: by which texts differ in how much a choice matters, as a share of how far that
            may be from what is expected.
        ranges: from where to where each bounded quantity was measured, by its name.
    """

    mean: Array
    covariance: Array
    noise: float
    offset: float
    variety: float
    ranges: Mapping[str, tuple[float, float]]

    def predict(self, text: Facts, points: Points, steps: Any) -> tuple[Array, Array]:
        """Expected losses in nats per token, [runs], and by which ratio they may be off, [runs].

        The ratio is one standard deviation.
        """
        terms = term_values(text, points, steps)
        logs = terms @ self.mean
        variances = ((terms @ self._wide()) * terms).sum(axis=1)
        return _anchor(text) * np.exp(logs), np.sqrt(variances + self.noise**2)

    def is_within(self, text: TextFacts, points: Points, steps: Any) -> NDArray[np.bool_]:
        """Whether the bounded quantities of runs are near those of measured ones, [runs]."""
        logs = quantities(text, points, steps)
        inside = [
            (logs[name] > low - _BEYOND) & (logs[name] < high + _BEYOND)
            for name, (low, high) in self.ranges.items()
        ]
        found: NDArray[np.bool_] = np.all(inside, axis=0)
        return found

    def learn(self, text: Facts, points: Points, steps: Any, losses: Sequence[float]) -> "Law":
        """The law after some runs of one text, for other runs of it.

        Args:
            text: the text, or its facts for each run.
            points: of the runs.
            steps: of each.
            losses: what they reached, in nats per token.
        """
        terms = term_values(text, points, steps)
        found = np.log(np.asarray(losses) / _anchor(text))
        mean, covariance = _narrowed(self.mean, self._wide(), terms, found, self.noise)
        return replace(self, mean=mean, covariance=covariance, offset=0.0, variety=0.0)

    def _wide(self) -> Array:
        """The covariance for one text."""
        return self.covariance + np.diag(_variances(self.offset, self.variety))

    @classmethod
    def fit(cls, rows: Sequence[Mapping[str, Any]]) -> Self:
        """Fit the law to measured runs; see `benchmarks/scaling/runs.csv` for their columns."""
        data = _Runs.of(rows)
        tried = itertools.product(_NOISES, _OFFSETS, _VARIETIES)
        best = max(tried, key=lambda deviations: data.evidence(*deviations))
        return cls(*data.posterior(*best), *best, data.ranges)

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
        return cls(*arrays, found["noise"], found["offset"], found["variety"], ranges)

    def to_json(self) -> str:
        """The law as text, with numbers of six digits."""

        def short(values: Any) -> Any:
            return [short(v) for v in values] if np.ndim(values) else float(f"{values:.6g}")

        found = {
            "terms": list(TERMS),
            "mean": short(self.mean),
            "noise": self.noise,
            "offset": self.offset,
            "variety": self.variety,
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
    ranges: Mapping[str, tuple[float, float]]

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]]) -> Self:
        # cut to another size it is another text, and another machine may bring another by that name
        about = ("train_tokens", "anchor")
        names = [(str(row["text"]), *(float(row[key]) for key in about)) for row in rows]
        known = sorted(set(names))
        columns = {
            key: np.array([float(row[key]) for row in rows]) for key in rows[0] if key != "text"
        }
        terms = term_values(columns, columns, columns["steps"])
        found = np.log(columns["loss"] / columns["anchor"])
        texts = np.array([known.index(name) for name in names])
        return cls(terms, found, texts, _ranges(quantities(columns, columns, columns["steps"])))

    def posterior(self, noise: float, offset: float, variety: float) -> tuple[Array, Array]:
        """Mean and covariance of the coefficients of the terms."""
        spread, shared = self._spread(noise, offset, variety)
        gain = np.linalg.solve(spread, shared).T
        covariance = np.diag(_DEVIATIONS**2) - gain @ shared
        mean = _EXPECTED + gain @ (self.found - self.terms @ _EXPECTED)
        return mean, (covariance + covariance.T) / 2

    def evidence(self, noise: float, offset: float, variety: float) -> float:
        """Logarithm of the probability of what was found, but for a constant."""
        spread, _ = self._spread(noise, offset, variety)
        off = self.found - self.terms @ _EXPECTED
        _, size = np.linalg.slogdet(spread)
        return float(-0.5 * (off @ np.linalg.solve(spread, off) + size))

    def _spread(self, noise: float, offset: float, variety: float) -> tuple[Array, Array]:
        """Covariance of what is found, [runs, runs], and of that and the terms, [runs, terms]."""
        shared = self.terms * _DEVIATIONS**2
        own = (self.terms * _variances(offset, variety)) @ self.terms.T
        alike = self.texts[:, None] == self.texts
        spread = shared @ self.terms.T + alike * own + noise**2 * np.eye(len(self.terms))
        return spread, shared


def _narrowed(
    mean: Array, covariance: Array, terms: Array, found: Array, noise: float
) -> tuple[Array, Array]:
    """Mean and covariance of coefficients after observations."""
    spread = terms @ covariance @ terms.T + noise**2 * np.eye(len(terms))
    gain = np.linalg.solve(spread, terms @ covariance).T
    narrowed = covariance - gain @ terms @ covariance
    return mean + gain @ (found - terms @ mean), (narrowed + narrowed.T) / 2


def _variances(offset: float, variety: float) -> Array:
    """By how much the coefficients of one text vary around those of all."""
    variances: Array = (variety * _DEVIATIONS * _CHOSEN) ** 2
    variances[_ONE] = offset**2
    return variances


def _anchor(text: Facts) -> Any:
    return text.anchor if isinstance(text, TextFacts) else np.asarray(text["anchor"])


def _ranges(logs: Mapping[str, Array]) -> dict[str, tuple[float, float]]:
    """What was measured of each bounded quantity, but for the outermost runs."""
    pairs = {name: np.quantile(logs[name], (_OUTER, 1 - _OUTER)) for name in BOUNDED}
    return {name: (float(low), float(high)) for name, (low, high) in pairs.items()}


def error_of(expected: Array, reached: Array) -> tuple[float, float]:
    """Root mean square and largest error of expected losses, as ratios."""
    off = np.log(expected / reached)
    return math.sqrt(float(np.mean(off**2))), float(np.abs(off).max())
