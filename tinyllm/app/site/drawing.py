"""Curves as SVG, so that a page shows them without a program."""

from collections.abc import Callable, Mapping, Sequence

from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

_WIDTH, _HEIGHT = 640, 310
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 24, 12, 46
_TICKS = 5
_SVG = Markup(
    '<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}" class="chart">'
    "{inside}</svg>"
)
_LINE = Markup('<polyline class="line c{color}" points="{points}"><title>{name}</title></polyline>')
_ACROSS = Markup(
    '<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
    '<text class="tick" x="{before}" y="{y:.1f}" dy=".32em" text-anchor="end">{value:g}</text>'
)
_DOWN = Markup('<text class="tick" x="{x:.1f}" y="{y}" text-anchor="middle">{value:g}</text>')
_AXIS = Markup('<text class="tick" x="{right}" y="{y}" text-anchor="end">step</text>')


def draw(curves: Mapping[str, Sequence[tuple[int, float]]], label: str) -> Markup:
    """Losses by step, one line each; empty if there is no point."""
    points = [point for curve in curves.values() for point in curve]
    if not points:
        return Markup()
    x, across = _scale([step for step, _ in points], _LEFT, _WIDTH - _RIGHT)
    y, down = _scale([value for _, value in points], _HEIGHT - _BOTTOM, _TOP)
    right, below = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM + 18
    parts = [
        _ACROSS.format(left=_LEFT, right=right, before=_LEFT - 6, y=y(v), value=v) for v in down
    ]
    parts += [_DOWN.format(x=x(v), y=below, value=v) for v in across]
    parts.append(_AXIS.format(right=right, y=_HEIGHT - 4))
    for color, (name, curve) in enumerate(curves.items()):
        places = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in curve)
        parts.append(_LINE.format(color=color, points=places, name=name))
    return _SVG.format(width=_WIDTH, height=_HEIGHT, label=label, inside=Markup().join(parts))


def _scale(
    values: Sequence[float], start: float, end: float
) -> tuple[Callable[[float], float], list[float]]:
    """From a value to its place between two places, and round values to label."""
    low, high = min(values), max(values)
    if low == high:
        low, high = low - 0.5, high + 0.5
    ticks = [v for v in MaxNLocator(_TICKS).tick_values(low, high) if low <= v <= high]
    return lambda value: start + (value - low) / (high - low) * (end - start), ticks
