"""The terms of the law: what the logarithm of the loss may depend on, and how far we expect it to.

The law says ln(loss / anchor) = sum of coefficient x term. Most terms are logarithms of a quantity
over a usual value of it, their squares and some products: near its minimum, every smooth function
looks like this. Each has a coefficient that we expect without data, and how far from that it may
be; a squared term is expected to be positive, since too much and too little both cost.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tinyllm.planning.points import (
    Array,
    Points,
    block_weights,
    operations,
    step_tokens,
    usual_weights,
)
from tinyllm.planning.texts import TextFacts

Facts = TextFacts | Mapping[str, Any]
_Logs = Mapping[str, Any]
# how many times a text can be read before a model begins to learn it by heart
_OFTEN = 3.0


# quantities in which a plan does not go beyond what was measured; in all others the law says how
# little it knows
BOUNDED = ("size", "batch", "context", "depth", "hidden", "embedding", "decay", "wavelength")
# terms that are the same for all runs of a text
OF_TEXT = ("one", "anchor", "gain", "echo", "vocabulary", "text", "text text", "gain text")


def quantities(text: Facts, points: Points, steps: Any) -> dict[str, Array]:
    """What the terms are made of, by name, each [runs]; see `term_values` for the arguments."""
    facts = text.to_dict() if isinstance(text, TextFacts) else text
    return _logarithms(facts, points, np.asarray(steps, dtype=np.float64))


def term_values(text: Facts, points: Points, steps: Any) -> Array:
    """All terms of some runs, [runs, terms].

    Args:
        text: one text for all runs, or its facts for each run.
        points: of the runs.
        steps: of each.
    """
    logs = quantities(text, points, steps)
    count = len(logs["steps"])
    columns = [np.broadcast_to(term(logs), count) for term, _, _ in TERMS.values()]
    return np.stack(columns, axis=1)


def _logarithms(facts: Mapping[str, Any], points: Points, steps: Any) -> dict[str, Any]:
    tokens, weights = steps * step_tokens(points), block_weights(points)
    taught = np.asarray(points["teacher_order"] > 0, dtype=np.float64)
    order = np.where(taught > 0, points["teacher_order"], 7)
    depth = points["d_model"] / points["num_layers"]
    return {
        "steps": np.log(steps / 500),
        "tokens": np.log(tokens / 1e6),
        "weights": np.log(weights / 3e5),
        "size": np.log(weights / usual_weights(steps * operations(points, facts["vocab_size"]))),
        "text": np.log(np.asarray(facts["train_tokens"], dtype=np.float64) / 5e5),
        "epochs": np.log(tokens / facts["train_tokens"]),
        "repeats": np.maximum(np.log(tokens / facts["train_tokens"] / _OFTEN), 0.0),
        "crowding": np.log(weights / facts["train_tokens"]),
        "anchor": np.log(np.asarray(facts["anchor"], dtype=np.float64) / 1.6),
        "gain": np.log(np.asarray(facts["short_anchor"] / np.asarray(facts["anchor"]))),
        "echo": np.log(np.asarray(facts["middle_anchor"] / np.asarray(facts["anchor"]))),
        "vocabulary": np.log(np.asarray(facts["vocab_size"], dtype=np.float64) / 100),
        "batch": np.log(step_tokens(points) / 1000),
        "context": np.log(points["sequence_length"] / 128),
        "depth": np.log(depth / 48),
        "hidden": np.log(points["d_ff"] / points["d_model"] / 4),
        "heads": np.log(points["head_dim"] / 32),
        "rate": np.log(points["learning_rate"] / 0.05),
        "embedding": np.log(points["embedding_learning_rate"] / 0.036),
        "momentum": np.log((1 - points["momentum"]) / 0.1),
        "decay": np.log(points["weight_decay"] / 0.05),
        "dropout": points["dropout"] / 0.1,
        "taught": taught,
        "teacher": taught * (points["final_teacher_weight"] - 0.25),
        "order": taught * np.log(order / 7),
        "wavelength": np.log(points["rope_theta"] / 1000),
    }


def _one(name: str) -> Callable[[_Logs], Any]:
    return lambda logs: logs[name]


def _product(first: str, second: str) -> Callable[[_Logs], Any]:
    return lambda logs: logs[first] * logs[second]


# term -> its expected coefficient, and how far from it that may be (one standard deviation)
_EXPECTED: dict[str, tuple[float, float]] = {
    # the text
    "anchor": (0.0, 0.3),
    "gain": (0.0, 0.6),
    # n-grams see at once what is repeated word by word; a model has to learn to look back
    "echo": (0.0, 0.5),
    "vocabulary": (0.0, 0.05),
    # short runs learn what two tokens of context tell, and only long ones the rest
    "anchor tokens": (0.0, 0.03),
    "gain tokens": (-0.03, 0.04),
    "gain steps": (0.0, 0.03),
    "gain text": (0.0, 0.04),
    "vocabulary tokens": (-0.01, 0.02),
    # more tokens, weights and text help, ever less; many weights on little text do not
    "tokens": (-0.05, 0.03),
    "tokens tokens": (0.012, 0.006),
    "weights": (-0.02, 0.02),
    "weights weights": (0.008, 0.006),
    "tokens weights": (0.0, 0.01),
    "text": (-0.03, 0.1),
    "text text": (0.005, 0.007),
    "text tokens": (-0.01, 0.01),
    "text weights": (-0.01, 0.01),
    # for the same tokens, many small steps are worth more than few large ones
    "steps": (-0.03, 0.02),
    "steps steps": (0.01, 0.006),
    # the shape
    "context": (-0.03, 0.03),
    "context context": (0.01, 0.01),
    "context tokens": (0.0, 0.01),
    "gain context": (0.0, 0.03),
    "depth": (0.0, 0.02),
    "depth depth": (0.01, 0.007),
    "hidden": (0.0, 0.03),
    "hidden hidden": (0.01, 0.01),
    "heads": (0.0, 0.02),
    "wavelength": (0.0, 0.01),
    "wavelength wavelength": (0.002, 0.001),
    "context wavelength": (0.0, 0.003),
    # rates: the longer the run, the lower
    "rate": (0.0, 0.02),
    "rate rate": (0.035, 0.012),
    "rate steps": (0.02, 0.007),
    "rate weights": (0.0, 0.007),
    "embedding": (0.0, 0.03),
    "embedding embedding": (0.01, 0.007),
    "embedding steps": (0.005, 0.004),
    "momentum": (0.0, 0.02),
    "momentum momentum": (0.01, 0.01),
    "momentum steps": (0.005, 0.005),
    # regularization pays off where a text is read often
    "decay": (0.0, 0.01),
    "decay decay": (0.003, 0.003),
    "decay epochs": (-0.002, 0.004),
    "dropout": (0.02, 0.02),
    "dropout epochs": (-0.006, 0.006),
    "dropout weights": (-0.002, 0.005),
    "dropout dropout": (0.002, 0.002),
    # whoever reads a text often learns it by heart, the more the larger the model
    "repeats": (0.02, 0.04),
    "repeats repeats": (0.02, 0.03),
    "repeats crowding": (0.02, 0.03),
    "repeats dropout": (-0.01, 0.02),
    "repeats decay": (0.0, 0.01),
    "repeats rate": (0.0, 0.02),
    # a teacher helps where it is read once or twice
    "taught": (-0.02, 0.04),
    "taught epochs": (0.015, 0.02),
    "teacher": (0.0, 0.05),
    "teacher epochs": (0.02, 0.02),
    "teacher teacher": (0.05, 0.05),
    "order": (0.0, 0.03),
    "order order": (0.05, 0.05),
}


def _terms() -> dict[str, tuple[Callable[[_Logs], Any], float, float]]:
    found: dict[str, tuple[Callable[[_Logs], Any], float, float]] = {
        "one": (lambda _: 1.0, -0.1, 0.3)
    }
    for name, (mean, deviation) in _EXPECTED.items():
        parts = name.split()
        found[name] = (_one(*parts) if len(parts) == 1 else _product(*parts), mean, deviation)
    return found


TERMS = _terms()
