"""Curves as a Mermaid chart, which GitHub renders in comments, unlike embedded PNGs."""

from collections.abc import Mapping, Sequence

import numpy as np

_POINTS = 30
_COLORS = {"base": "#9a9a9a", "head": "#1f77b4"}


def draw_chart(base: Sequence[Mapping[str, str]], head: Sequence[Mapping[str, str]]) -> str:
    """Validation loss of both by step, in bits per character; empty if neither has a history."""
    histories = {"base": base, "head": head}
    shown = {name: rows for name, rows in histories.items() if rows}
    if not shown:
        return ""
    steps = [float(row["step"]) for rows in shown.values() for row in rows]
    grid = np.linspace(min(steps), max(steps), _POINTS)
    palette = ", ".join(_COLORS[name] for name in shown)
    lines = [
        "```mermaid",
        f'%%{{init: {{"themeVariables": {{"xyChart": {{"plotColorPalette": "{palette}"}}}}}}}}%%',
        "xychart-beta",
        '    title "Validation loss"',
        f'    x-axis "optimizer step" {min(steps):g} --> {max(steps):g}',
        '    y-axis "bits per character"',
    ]
    for rows in shown.values():
        at = [float(row["step"]) for row in rows]
        bits = [float(row["val_bits"]) for row in rows]
        # a chart's points are evenly spaced; beyond its last step a curve stays where it ended
        values = np.interp(grid, at, bits)
        lines.append(f"    line [{', '.join(f'{value:.4f}' for value in values)}]")
    key = ", ".join({"base": "gray: base", "head": "blue: this change"}[name] for name in shown)
    return "\n".join([*lines, "```", "", f"{key[0].upper()}{key[1:]}."])
