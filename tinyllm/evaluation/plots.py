"""Plots of a run and of its predictions; the same bytes for the same data."""

import contextlib
import functools
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font
from numpy.typing import NDArray

from tinyllm.base.files import write_bytes

_COLUMNS, _ROWS = 76, 24
_MOST_BITS = 8.0
# points, over the digits in a row of a code point
_ROW_OF_DIGITS = 9.5


@contextlib.contextmanager
def plain_style() -> Iterator[None]:
    """Draw as matplotlib does by itself, whatever a matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        yield


@plain_style()
def draw_curves(history: Sequence[Mapping[str, Any]], baseline: float, path: Path) -> None:
    """Training and validation loss over steps, and the n-gram model's mean.

    Args:
        history: `step`, and `train_loss` and `val_loss` in bits per character.
        baseline: in bits per character.
        path: the PNG file to write.
    """
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    steps = [row["step"] for row in history]
    for key, label in (("train_loss", "training"), ("val_loss", "validation")):
        axes.plot(steps, [row[key] for row in history], marker=".", label=label)
    best = min(history, key=lambda row: row["val_loss"])
    axes.axvline(best["step"], color="gray", linestyle=":", label=f"best, step {best['step']:.0f}")
    axes.axhline(baseline, color="gray", linewidth=1, label="n-gram model, held-out text")
    finish(axes, "optimizer step", "bits per character")
    axes.legend(frameon=False)
    save(figure, path)


@plain_style()
def draw_positions(rows: Sequence[Mapping[str, Any]], baseline: float, path: Path) -> None:
    """Loss by the number of tokens of context, and the n-gram model's mean.

    A single context length is measured on few characters of a short text; the line is the mean of
    neighbours, of ever more of them, and the single ones are points.
    """
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    contexts = np.array([row["context"] for row in rows])
    bits = np.array([row["bits"] for row in rows])
    axes.plot(contexts, bits, ".", color="C0", alpha=0.3, markersize=4)
    groups = np.split(np.arange(len(rows)), _group_starts(len(rows))[1:])
    middles = [float(np.exp(np.log(contexts[group]).mean())) for group in groups]
    axes.plot(middles, [float(bits[group].mean()) for group in groups], label="model")
    axes.axhline(baseline, color="gray", linestyle=":", label="n-gram model")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:.0f}")
    finish(axes, "tokens of context", "bits per character")
    axes.legend(frameon=False)
    save(figure, path)


def _group_starts(count: int) -> list[int]:
    """Where groups of growing length begin: one by one at first, then by a fourth of the way."""
    starts = [0]
    while (following := starts[-1] + 1 + starts[-1] // 4) < count:
        starts.append(following)
    return starts


@plain_style()
def draw_surprise(text: str, bits: NDArray[np.float64], path: Path) -> None:
    """A passage with each character on a background as red as it surprised the model.

    Args:
        text: the passage; as much as fits is shown.
        bits: loss of each of its characters, [characters].
        path: the PNG file to write.

    Characters that no font of matplotlib's own has are shown by their code points, since a font of
    this machine would make another picture than that of the next.
    """
    figure = Figure(figsize=(9.0, 5.4), layout="constrained")
    axes = figure.subplots()
    colors = mpl.colormaps["Reds"]
    places = _lay_out(text, bits)
    for character, surprise, column, row in places:
        share = min(float(surprise) / _MOST_BITS, 1.0)
        axes.text(
            column + 0.5,
            row + 0.5,
            **_glyph(character),
            ha="center",
            va="center",
            color="white" if share > 0.6 else "black",
        )
        axes.add_patch(mpl.patches.Rectangle((column, row), 1, 1, color=colors(share * 0.9)))
    axes.set(xlim=(0, _COLUMNS), ylim=(_ROWS, 0), xticks=[], yticks=[])
    title = f"surprise at each character: white 0 bits, red {_MOST_BITS:g} bits or more"
    if any(_family(character) is None for character, *_ in places):
        title += "; small: code points, for lack of a font"
    axes.set_title(title)
    save(figure, path)


def _glyph(character: str) -> dict[str, Any]:
    """How to draw a character, as arguments of matplotlib's text."""
    family = _family(character)
    if family is None:
        digits = f"{ord(character):04X}"
        width = (len(digits) + 1) // 2
        shown = f"{digits[:-width]}\n{digits[-width:]}"
        return {"s": shown, "family": "monospace", "fontsize": _ROW_OF_DIGITS / width}
    shown = "\N{PILCROW SIGN}" if character == "\n" else character
    return {"s": shown if shown.isprintable() else " ", "family": family, "fontsize": 8}


def _family(character: str) -> str | None:
    """The family of fonts that has a character; None if there is none."""
    if not character.isprintable():
        return "monospace"
    return next((family for family, known in _fonts().items() if ord(character) in known), None)


@functools.cache
def _fonts() -> dict[str, frozenset[int]]:
    """The code points in matplotlib's own fonts, by family."""
    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    names = {"monospace": "DejaVuSansMono.ttf", "DejaVu Sans": "DejaVuSans.ttf"}
    return {
        family: frozenset(get_font(folder / name).get_charmap()) for family, name in names.items()
    }


def _lay_out(text: str, bits: NDArray[np.float64]) -> list[tuple[str, np.float64, int, int]]:
    places = []
    column = row = 0
    for character, surprise in zip(text, bits, strict=False):
        if row == _ROWS:
            break
        places.append((character, surprise, column, row))
        column += 1
        if column == _COLUMNS or character == "\n":
            column, row = 0, row + 1
    return places


def finish(axes: Axes, x: str, y: str) -> None:
    """Label the axes, and leave out what says nothing."""
    axes.set(xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, with the same bytes for the same figure."""
    buffer = io.BytesIO()
    # the default would name matplotlib's version
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    write_bytes(path, buffer.getvalue())
