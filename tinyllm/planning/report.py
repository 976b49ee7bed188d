"""The folder of a plan's report: its figures, and the picture of its short runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyllm.base.files import write_json
from tinyllm.base.outs import OutFolder
from tinyllm.base.replacing import new_directory

if TYPE_CHECKING:
    from tinyllm.planning.plans import Plan

REPORT = OutFolder(
    writer="tinyllm plan",
    files=("plan.json", "rates.png"),
    mark="plan.json",
    sign=frozenset({"params", "text", "expected", "candidates", "trials"}),
)


def write_report(path: Path, plan: "Plan", figures: Mapping[str, Any]) -> None:
    """Write `plan.json`, and `rates.png` if there were short runs.

    Raises:
        ConfigError: `path` holds something else.
        TinyLLMError: it cannot be written.
    """
    with new_directory(path, REPORT) as folder:
        write_json(folder / "plan.json", figures)
        if plan.trials:
            from tinyllm.planning.picture import draw_trials  # noqa: PLC0415 - matplotlib is slow

            chosen = plan.chosen.point, plan.chosen.steps
            draw_trials(plan.trials, plan.law, plan.text, chosen, folder / "rates.png")
