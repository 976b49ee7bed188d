"""A plan in MLflow: a run of its own, which no table of trained runs lists."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyllm.app.config import TrackingConfig
from tinyllm.app.logger import get_logger
from tinyllm.app.tracking.delivery import Delivery
from tinyllm.app.tracking.journal import Journal
from tinyllm.app.tracking.lineage import PARENT_TAG, git_tags
from tinyllm.app.tracking.note import NOTE_TAG
from tinyllm.app.tracking.patch import git_patch
from tinyllm.app.tracking.reasons import reason
from tinyllm.app.tracking.store import journal_folder

if TYPE_CHECKING:
    from tinyllm.planning.plans import Plan

_log = get_logger(__name__)


def figures_of(plan: "Plan") -> dict[str, float]:
    """What is expected, as MLflow's metrics."""
    return {
        "expected_val_loss": plan.chosen.loss,
        "expected_seconds": plan.seconds,
        "expected_step_seconds": plan.chosen.step_seconds,
        "expected_megabytes": plan.memory / 1e6,
        "ngram_val_loss": plan.text.anchor,
    }


def record_plan(
    plan: "Plan", fingerprint: str, config: TrackingConfig, folder: Path, about: str
) -> None:
    """Deliver a plan, its short runs as a curve over their learning rates, and its files.

    What MLflow does not get now, `tinyllm sync` delivers.

    Args:
        plan: the plan.
        fingerprint: 32 digits; equal plans are one run.
        config: the experiment, and whether to record at all.
        folder: the files.
        about: a description.
    """
    if not config.tracking:
        return
    journal_folder().mkdir(parents=True, exist_ok=True)
    journal = Journal(journal_folder(), fingerprint)
    flat = _params(plan)
    tags = {PARENT_TAG: "plan", NOTE_TAG: about, **git_tags(git_patch())}
    name = f"plan {fingerprint[:6]}"
    about_run = {"stage": "plan", "experiment": config.experiment, "name": name}
    journal.add("run", **about_run, params=flat, tags=tags)
    journal.add("figures", step=0, values=figures_of(plan))
    for number, trial in enumerate(plan.trials):
        values = {
            "trial_learning_rate": trial.point["learning_rate"],
            "trial_batch_size": trial.point["batch_size"],
            "trial_val_loss": trial.loss,
        }
        # a run that diverged has no loss
        journal.add_metrics(number, {k: v for k, v in values.items() if v < float("inf")})
    for file in sorted(folder.glob("[!.]*")):
        journal.add("artifact", folder="plan", **journal.files.keep(file))
    journal.add("status", value="FINISHED")
    try:
        Delivery(journal).deliver()
    except Exception as error:
        why = reason(error)
        _log.warning("MLflow has not got the plan (%s); 'tinyllm sync' delivers it.", why)


def _params(plan: "Plan") -> dict[str, str]:
    return {
        f"{name}.{key}": str(value)
        for name, section in plan.recipe.sections().items()
        for key, value in section.model_dump().items()
    }


def report_of(plan: "Plan") -> Mapping[str, Any]:
    """Everything about a plan as plain values."""
    sections = {name: one.model_dump() for name, one in plan.recipe.sections().items()}
    trials = [
        {**trial.point, "steps": trial.steps, "loss": trial.loss if trial.loss < 1e9 else None}
        for trial in plan.trials
    ]
    candidates = [
        {**one.point, "steps": one.steps, "step_seconds": one.step_seconds, "loss": one.loss}
        for one in plan.candidates
    ]
    shown = {
        "params": sections,
        "text": plan.text.to_dict(),
        "expected": figures_of(plan) | {"ratio": plan.chosen.ratio, "fixed": plan.fixed},
        "candidates": candidates,
        "trials": trials,
    }
    return dict(json.loads(json.dumps(shown)))
