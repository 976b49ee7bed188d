"""Why each parameter of a plan has its value, and what the run is expected to reach."""

import math
from typing import TYPE_CHECKING

from tinyllm.tokens.meta import TokenMeta

if TYPE_CHECKING:
    from tinyllm.planning.plans import Plan

# knob -> parameter of params.yaml
_PARAMETERS = {
    "d_model": "model.d_model",
    "head_dim": "model.num_heads",
    "num_layers": "model.num_layers",
    "d_ff": "model.d_ff",
    "sequence_length": "model.sequence_length",
    "dropout": "model.dropout",
    "rope_theta": "model.rope_theta",
    "batch_size": "train.batch_size",
    "learning_rate": "train.learning_rate",
    "embedding_learning_rate": "train.embedding_learning_rate",
    "momentum": "train.momentum",
    "weight_decay": "train.weight_decay",
    "teacher_order": "train.teacher_order",
    "final_teacher_weight": "train.final_teacher_weight",
}


def reasons_for(plan: "Plan") -> dict[str, str]:
    """Parameter -> why it has its value."""
    found = {}
    for knob, parameter in _PARAMETERS.items():
        others = [f"{value:g}: {ratio - 1:+.1%}" for value, ratio in plan.beside[knob]]
        if knob == "head_dim":
            others = [f"heads {text[:2]} wide{text[2:]}" for text in others]
        found[parameter] = ", ".join(others)
    if not plan.recipe.training.teacher_order:
        found["train.final_teacher_weight"] = "no teacher"
    tokens = plan.recipe.training.windows * plan.recipe.model.sequence_length
    epochs = tokens / plan.text.train_tokens
    found["train.max_steps"] = (
        f"{1000 * plan.chosen.step_seconds:.3g} ms each; the text {epochs:.2g} times over"
    )
    found["train.eval_interval"] = "ten validations, of which the best weights are kept"
    found["train.eval_characters"] = "so that validations take a twentieth of the time at most"
    found["numerics.mode"] = "as asked for"
    if plan.trials:
        count = sum(trial.steps > 0 for trial in plan.trials)
        found["train.learning_rate"] += f" (after {count} short runs)"
    return {key: why for key, why in found.items() if why}


def expectations(plan: "Plan", meta: TokenMeta) -> list[str]:
    """What the run is expected to reach and to take, in lines."""
    chosen, bits = plan.chosen, meta.splits.val.bits_per_character
    off = chosen.loss * (1 - math.exp(-chosen.ratio))
    expected = (
        f"expected on the validation split: {chosen.loss:.3f} nats per token, two times in three "
        f"within {off:.3f}; {bits(chosen.loss):.3f} bits per character. The best n-gram model has "
        f"{plan.text.anchor:.3f} nats."
    )
    spent = (
        f"The train stage takes about {duration(plan.seconds)}, {plan.fixed:.1f} s of it to start "
        f"and to end, and {plan.memory / 1e6:,.0f} MB of memory."
    )
    return [expected, spent]


def duration(seconds: float) -> str:
    """A time in seconds, minutes or hours."""
    for unit, size in (("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"
