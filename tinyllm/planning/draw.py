"""Drawing points: what has been usual for so many operations, and others around it."""

from typing import Any

import numpy as np

from tinyllm.planning.points import KNOBS, Array, Points, snapped, usual_weights

# how far points are drawn from the usual one: standard deviations, of logarithms where a value may
# be any number
_SPREADS = {
    "d_model": 0.25,
    "d_ff": 0.4,
    "sequence_length": 0.4,
    "batch_size": 0.45,
    "learning_rate": 0.4,
    "embedding_learning_rate": 0.4,
    "weight_decay": 0.7,
    "rope_theta": 1.2,
}
# of a usual run, and the tokens of a step of it
_OPERATIONS, _STEP_TOKENS = 8e12, 1536.0


def usual(operations: Any, train_tokens: float) -> dict[str, Array]:
    """Points that have been good before (docs/experiments.md), snapped to values of the knobs.

    Args:
        operations: floating-point operations of the whole run, [points].
        train_tokens: of the text.
    """
    operations = np.asarray(operations, dtype=np.float64)
    scale = operations / _OPERATIONS
    weights = usual_weights(operations)
    layers = np.clip(np.round(2 * scale**0.2), 1, 6)
    hidden = np.where(layers < 3, 5.0, 3.0)
    width = np.sqrt(weights / (layers * (4 + 3 * hidden)))
    context = 256 * scale**0.25
    tokens = operations / (6 * weights)
    steps = tokens / (_STEP_TOKENS * scale**0.2)
    epochs = tokens / train_tokens
    return snapped(
        {
            "d_model": width,
            "head_dim": np.full_like(scale, 32),
            "num_layers": layers,
            "d_ff": hidden * width,
            "sequence_length": context,
            "batch_size": _STEP_TOKENS * scale**0.2 / np.clip(context, 64, 512),
            "learning_rate": 0.05 * (steps / 1000) ** -0.35,
            "embedding_learning_rate": 0.036 * (steps / 1000) ** -0.3,
            "momentum": np.where(steps < 1500, 0.85, 0.95),
            "weight_decay": np.where(epochs < 4, 0.03, 0.1),
            "dropout": np.where(epochs < 6, 0.0, 0.1),
            "teacher_order": np.where(epochs < 4, 7, 0),
            "final_teacher_weight": np.full_like(scale, 0.25),
            "rope_theta": np.full_like(scale, 500.0),
        }
    )


def around(points: Points, random: np.random.Generator, width: float = 1.0) -> dict[str, Array]:
    """Other points, each near one of these.

    Args:
        points: where to start from.
        random: draws them.
        width: how far they go, 1 for the widest.
    """
    count = len(points["d_model"])
    new = {name: np.array(points[name], dtype=np.float64) for name in KNOBS}
    for name, spread in _SPREADS.items():
        new[name] = new[name] * np.exp(width * spread * random.standard_normal(count))
    # the feed-forward layer's width follows the other one
    widened = new["d_model"] / points["d_model"]
    new["d_ff"] = np.clip(new["d_ff"] * widened, 1.5 * new["d_model"], 10 * new["d_model"])
    new["num_layers"] = new["num_layers"] + np.round(width * random.standard_normal(count))
    for name, others in (
        ("momentum", (0.8, 0.85, 0.9, 0.95)),
        ("dropout", (0.0, 0.0, 0.05, 0.1, 0.2)),
        ("teacher_order", (0, 0, 5, 6, 7, 8)),
        ("final_teacher_weight", (0.0, 0.25, 0.5, 1.0)),
        ("head_dim", (32, 32, 32, 64)),
    ):
        drawn = random.choice(others, count)
        new[name] = np.where(random.random(count) < 0.4 * width, drawn, new[name])
    return snapped(new)
