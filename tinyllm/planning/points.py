"""Points: everything that a plan chooses about a run, for one run or for many at once.

A point maps the names of `KNOBS` to numbers. Functions that compute with points also take arrays of
equal length, one element for each of many points.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyllm.model.config import ModelConfig
from tinyllm.training.config import TrainingConfig

Point = dict[str, float]
Points = Mapping[str, Any]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Knob:
    """One choice: its values, from `low` to `high`.

    Attributes:
        low: the least value.
        high: the largest value.
        step: values are multiples of it; 0: any number with two digits.
        choices: the only values, if there are few.
    """

    low: float
    high: float
    step: float = 0.0
    choices: tuple[float, ...] = ()

    def nearest(self, values: Any) -> Array:
        """The values of the knob that are nearest to these, by ratio where none is zero."""
        wanted = np.clip(np.asarray(values, dtype=np.float64), self.low, self.high)
        found: Array
        if self.choices:
            known = np.array(self.choices)
            found = known[np.abs(wanted[..., None] - known).argmin(axis=-1)]
            return found
        if self.step:
            found = np.maximum(np.round(wanted / self.step) * self.step, self.low)
            return found
        digits = 10.0 ** np.floor(np.log10(np.maximum(wanted, 1e-12)) - 1)
        # divided by a whole number, so that no digits appear behind the second
        found = np.round(wanted / digits) / np.round(1 / digits, 9)
        return found

    def beside(self, value: float) -> list[float]:
        """The next smaller and the next larger value; by a third where every number is one."""
        if self.choices:
            place = self.choices.index(value)
            return [self.choices[i] for i in (place - 1, place + 1) if 0 <= i < len(self.choices)]
        steps = (value - self.step, value + self.step)
        found = steps if self.step and value < 8 * self.step else (value / 1.33, value * 1.33)
        return [float(new) for new in self.nearest(found) if new != value]


KNOBS: dict[str, Knob] = {
    "d_model": Knob(32, 512, 32),
    # every runtime opens the exports of these
    "head_dim": Knob(32, 64, choices=(32, 64)),
    "num_layers": Knob(1, 8, 1),
    "d_ff": Knob(32, 4096, 32),
    "sequence_length": Knob(64, 512, choices=(64, 96, 128, 192, 256, 384, 512)),
    "batch_size": Knob(2, 64, 1),
    "learning_rate": Knob(0.003, 0.3),
    "embedding_learning_rate": Knob(0.001, 0.3),
    "momentum": Knob(0.8, 0.95, choices=(0.8, 0.85, 0.9, 0.95)),
    "weight_decay": Knob(0.01, 1.0),
    "dropout": Knob(0.0, 0.3, 0.05),
    "teacher_order": Knob(0, 9, choices=(0, 4, 5, 6, 7, 8, 9)),
    "final_teacher_weight": Knob(0.0, 1.0, 0.05),
    "rope_theta": Knob(100.0, 10_000.0),
}
# of the model; all others are of the training
_OF_MODEL = ("d_model", "num_layers", "d_ff", "sequence_length", "dropout", "rope_theta")
_WHOLE = ("d_model", "num_layers", "d_ff", "sequence_length", "batch_size", "teacher_order")


def model_of(point: Point) -> ModelConfig:
    """The section `model` of a point."""
    values = {name: _plain(name, point[name]) for name in _OF_MODEL}
    return ModelConfig(**values, num_heads=round(point["d_model"] / point["head_dim"]))


def training_of(point: Point, steps: int, **others: Any) -> TrainingConfig:
    """The section `train` of a point.

    Args:
        point: the choices.
        steps: of the run.
        others: parameters that are no choice of a point, such as the seed.
    """
    of_model = {*_OF_MODEL, "head_dim"}
    values = {name: _plain(name, point[name]) for name in KNOBS if name not in of_model}
    return TrainingConfig(**{**values, "max_steps": steps, **others})


def _plain(name: str, value: float) -> float:
    # the digits that arithmetic added, such as those of 0.05 * 3
    return round(value) if name in _WHOLE else float(f"{value:.6g}")


def block_weights(points: Points) -> Any:
    """Weights of all matrices inside the blocks."""
    width, hidden = points["d_model"], points["d_ff"]
    return points["num_layers"] * (4 * width**2 + 3 * width * hidden)


def operations(points: Points, vocab_size: float) -> Any:
    """Floating-point operations of one step: forward pass once, backward pass twice.

    Of the scores of attention, only the half that is not masked counts.
    """
    width, context = points["d_model"], points["sequence_length"]
    attention = points["num_layers"] * width * (context + 1)
    per_token = block_weights(points) + width * vocab_size + attention
    return 6 * per_token * step_tokens(points)


def usual_weights(operations: Any) -> Any:
    """Weights in the blocks of a model that is trained with so many operations in all.

    Weights and tokens have to grow together; the size and the power are those of the best runs in
    docs/experiments.md.
    """
    return 8e5 * (operations / 8e12) ** 0.44


def step_tokens(points: Points) -> Any:
    """Tokens of one step."""
    return points["batch_size"] * points["sequence_length"]


def snapped(points: Points) -> dict[str, Any]:
    """The points with every knob at one of its values, and heads that fit the width."""
    new = {name: knob.nearest(points[name]) for name, knob in KNOBS.items()}
    fits = new["d_model"] % new["head_dim"] == 0
    return {**new, "head_dim": np.where(fits, new["head_dim"], 32.0)}


def stacked(points: list[Point]) -> dict[str, Array]:
    """Many points as one."""
    return {name: np.array([point[name] for point in points]) for name in points[0]}


def pick(points: Points, index: int) -> Point:
    """One of many points."""
    return {name: float(values[index]) for name, values in points.items()}
