"""The description of a run that MLflow shows above its metrics."""

from collections.abc import Mapping
from typing import Any

from tinyllm.app.tracking.naming import changed_params

# what a token is, by kind
_UNITS = {"char": "character", "byte": "byte", "bpe": "token"}
NOTE_TAG = "mlflow.note.content"


def run_note(params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
    """The model, its training, its differences from the baseline, and its commit."""
    changed = "".join(f"\n- `{key}`: {value}" for key, value in changed_params(params).items())
    parts = [
        _sentence(
            "{model.num_layers} layers, {model.d_model} wide, {model.num_heads} heads, "
            "{model.sequence_length} {unit}s of context.",
            {**params, "unit": _UNITS.get(str(params.get("tokenize.kind")), "token")},
        ),
        _sentence(
            "{train.max_steps} steps of {train.batch_size} windows by {train.optimizer} on "
            "`{prepare.source}`, {numerics.mode} arithmetic.",
            params,
        ),
        f"Differs from the committed params.yaml in:\n{changed}" if changed else "",
        _commit(tags),
    ]
    return "\n\n".join(part for part in parts if part)


def _sentence(text: str, params: Mapping[str, Any]) -> str:
    """The text with parameters filled in; empty if one is unknown."""
    for key, value in params.items():
        text = text.replace(f"{{{key}}}", str(value))
    return "" if "{" in text else text


def _commit(tags: Mapping[str, str]) -> str:
    if "git.commit" not in tags:
        return ""
    over = " and uncommitted changes" if tags["git.uncommitted"] == "yes" else ""
    return f"Commit `{tags['git.commit'][:12]}` of `{tags['git.branch']}`{over}."
