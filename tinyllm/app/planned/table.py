"""A plan on the screen."""

from pathlib import Path
from typing import TYPE_CHECKING

from tinyllm.app.tables import make_table, show

if TYPE_CHECKING:
    from tinyllm.planning.plans import Plan

_HEADS = ("layers", "wide", "hidden", "context", "batch", "rate", "steps", "ms a step", "loss")


def show_plan(plan: "Plan", head: list[str], out: Path, reports: Path) -> None:
    """Print the candidates, what is expected, and what to do next."""
    rows = []
    for one in plan.candidates:
        shape = ("num_layers", "d_model", "d_ff", "sequence_length", "batch_size", "learning_rate")
        cells = [f"{one.point[name]:g}" for name in shape]
        time = f"{1000 * one.step_seconds:.3g}"
        rows.append((*cells, f"{one.steps:,}", time, f"{one.loss:.3f}"))
    show("", make_table(_HEADS, rows), "")
    show(f"The first was chosen; {' '.join(head)}")
    if plan.trials:
        show(f"The picture of {len(plan.trials)} short runs is {reports / 'rates.png'}.")
    copied = out.resolve() != Path("params.yaml").resolve()
    copy = "copy it to params.yaml, then " if copied else ""
    show(f"Wrote {out}. Next: {copy}'dvc repro'.")
