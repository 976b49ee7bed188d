"""The picture of the trials: loss by learning rate and by batch, and what was chosen."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tinyllm.evaluation.plots import finish, plain_style, save
from tinyllm.planning.law import Law
from tinyllm.planning.points import KNOBS, Point, stacked, step_tokens
from tinyllm.planning.texts import TextFacts
from tinyllm.planning.trials import Trial

_Chosen = tuple[Point, int]

_LABELS = {"learning_rate": "learning rate", "batch_size": "batch size, windows"}


@plain_style()
def draw_trials(
    trials: Sequence[Trial], law: Law, text: TextFacts, chosen: _Chosen, path: Path
) -> None:
    """Loss of the trials, what the law now expects of them and of the run, and the choice.

    Args:
        trials: the first of them differ in the learning rate only, the last in the batch.
        law: after the trials.
        text: the text.
        chosen: the point of the run, and its steps.
        path: the PNG file to write.
    """
    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    for axes, knob in zip(figure.subplots(1, 2), _LABELS, strict=True):
        shown = _differing(trials, knob)
        _draw(axes, knob, shown, law, text, chosen)
    save(figure, path)


def _differing(trials: Sequence[Trial], knob: str) -> list[Trial]:
    """The trials that differ from the middle one in a knob only."""
    middle = min(trials, key=lambda trial: abs(np.log(_ratio(trial, trials))))
    alike = [t for t in trials if {**t.point, knob: middle.point[knob]} == middle.point]
    return sorted(alike, key=lambda trial: trial.point[knob])


def _ratio(trial: Trial, trials: Sequence[Trial]) -> float:
    rates = sorted(t.point["learning_rate"] for t in trials)
    return trial.point["learning_rate"] / rates[len(rates) // 2]


def _draw(
    axes: Axes, knob: str, trials: Sequence[Trial], law: Law, text: TextFacts, chosen: _Chosen
) -> None:
    (point, steps), middle = chosen, trials[len(trials) // 2]
    sound = [trial for trial in trials if np.isfinite(trial.loss)]
    axes.plot([t.point[knob] for t in sound], [t.loss for t in sound], "o", label="short runs")
    values = [trial.point[knob] for trial in trials] + [point[knob]]
    curve = KNOBS[knob].nearest(np.geomspace(min(values) / 1.3, max(values) * 1.3, 40))
    for start, length, label in (
        (middle.point, middle.steps, "short runs, expected"),
        (point, steps, "the run, expected"),
    ):
        points = stacked([{**start, knob: float(value)} for value in curve])
        # for the same tokens
        lengths = length * step_tokens(start) / step_tokens(points)
        losses, _ = law.predict(text, points, lengths)
        axes.plot(curve, losses, label=label)
    axes.axvline(point[knob], color="gray", linestyle=":", label=f"chosen: {point[knob]:g}")
    axes.set_xscale("log")
    tried = sorted({trial.point[knob] for trial in trials})
    axes.set_xticks(tried, [f"{value:g}" for value in tried])
    axes.minorticks_off()
    finish(axes, _LABELS[knob], "validation loss, nats per token")
    axes.legend(frameon=False)
