"""A change reruns the stages whose outs it can change, and no other."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

# what is touched: a file, a text in it and its replacement, and the stages that must run
TOUCHES = {
    "a message about MLflow": (
        "tinyllm/app/tracking/tracker.py",
        "has not got everything of this run",
        "still misses something of this run",
        set(),
    ),
    "the progress bar": ("tinyllm/app/watch/bar.py", 'unit="step"', 'unit="it"', set()),
    "a help text": (
        "tinyllm/app/stage_help.py",
        "Train a transformer and keep",
        "Train one transformer and keep",
        set(),
    ),
    "the logger": ("tinyllm/app/logger.py", "maxBytes=1_000_000", "maxBytes=2_000_000", set()),
    "the version": ("pyproject.toml", 'version = "', 'version = "1', set()),
    "a color in a picture": (
        "tinyllm/evaluation/plots.py",
        'color="gray"',
        'color="black"',
        {"evaluate"},
    ),
    "a metric of evaluate": (
        "tinyllm/evaluation/metrics.py",
        "(ranks < 5).sum()",
        "(ranks < 4).sum()",
        {"evaluate"},
    ),
    "the card of the exports": (
        "tinyllm/formats/card.py",
        "## Limits",
        "## Its limits",
        {"export"},
    ),
    "the optimizer": (
        "tinyllm/training/muon.py",
        "_EPSILON = 1e-7",
        "_EPSILON = 1e-6",
        {"train"},
    ),
}


@pytest.fixture
def touched(project, request) -> Iterator[tuple[Path, set[str]]]:
    """The project with one change, and the stages that must run."""
    file, before, after, stages = TOUCHES[request.param]
    path = project / file
    text = path.read_text(encoding="utf-8")
    assert before in text, f"{file} no longer holds {before!r}"
    path.write_text(text.replace(before, after, 1), encoding="utf-8")
    yield project, stages
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("touched", TOUCHES, indirect=True)
def test_a_change_reruns_what_it_can_change(touched, run):
    _, expected = touched
    stale = json.loads(run("dvc", "status", "--json").stdout)
    directly = {
        stage
        for stage, changes in stale.items()
        if any(
            path.startswith(("tinyllm", "stages"))
            for change in changes
            if isinstance(change, dict)
            for path in change.get("changed deps", {})
        )
    }
    assert directly == expected


def test_an_untouched_project_is_up_to_date(run):
    assert json.loads(run("dvc", "status", "--json").stdout) == {}
