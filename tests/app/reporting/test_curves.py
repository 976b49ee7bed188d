"""The chart that GitHub draws."""

import re

from tinyllm.app.reporting.curves import draw_chart


def rows(*points):
    return [{"step": str(step), "val_bits": str(bits)} for step, bits in points]


def values(chart):
    return [[float(v) for v in line.split(", ")] for line in re.findall(r"line \[(.*)\]", chart)]


def test_both_curves_go_through_their_points_on_one_axis():
    chart = draw_chart(rows((0, 4), (290, 2)), rows((0, 4), (145, 1)))
    assert chart.startswith("```mermaid\n")
    assert 'x-axis "optimizer step" 0 --> 290' in chart
    base, head = values(chart)
    assert len(base) == len(head) == 30
    assert (base[0], base[-1]) == (4, 2)
    assert (head[0], head[-1]) == (4, 1)
    assert "Gray: base, blue: this change." in chart


def test_a_base_without_history_leaves_one_curve_in_its_color():
    chart = draw_chart([], rows((10, 3), (20, 2)))
    assert len(values(chart)) == 1
    assert '"#1f77b4"' in chart
    assert "Blue: this change." in chart


def test_no_history_no_chart():
    assert draw_chart([], []) == ""
