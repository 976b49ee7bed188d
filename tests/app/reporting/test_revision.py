"""A report on files that are not there, or not what they should be."""

import pytest

from tinyllm.app.reporting.revision import Revision
from tinyllm.base.errors import TinyLLMError

METRICS = "reports/evaluate/metrics.json"
HISTORY = "reports/train/history.csv"
POSITIONS = "reports/evaluate/positions.csv"


def revision(root, path="", content=b""):
    if path:
        (root / path).parent.mkdir(parents=True)
        (root / path).write_bytes(content)
    return Revision(root)


def test_a_pipeline_that_has_not_run_has_no_figures(tmp_path):
    found = revision(tmp_path)
    assert (found.metrics(), found.history(), found.positions()) == ({}, [], {})


def test_figures_are_read(tmp_path):
    assert revision(tmp_path, METRICS, b'{"bits_per_character": 2}').metrics() == {
        "bits_per_character": 2
    }
    (tmp_path / POSITIONS).write_text("context,bits\n1,2.5\n")
    assert Revision(tmp_path).positions() == {"1": 2.5}


@pytest.mark.parametrize(
    "content", [b"[", b"null", b"3", b"[" * 5000, b'{"bits_per_character": "2"}', b"\xff"]
)
def test_damaged_metrics_are_named(tmp_path, content):
    with pytest.raises(TinyLLMError, match=r"metrics\.json is damaged"):
        revision(tmp_path, METRICS, content).metrics()


@pytest.mark.parametrize(
    "content", [b"a,b\n1,2\n", b"\xff", b"step,val_loss\nx,1\n", b"step,val_loss\n1\n"]
)
def test_a_damaged_history_is_named(tmp_path, content):
    with pytest.raises(TinyLLMError, match=r"history\.csv is damaged"):
        revision(tmp_path, HISTORY, content).history()


@pytest.mark.parametrize("bits", [b"", b"x", b"nan", b"inf"])
def test_damaged_positions_are_named(tmp_path, bits):
    with pytest.raises(TinyLLMError, match=r"positions\.csv is damaged"):
        revision(tmp_path, POSITIONS, b"context,bits\n1," + bits + b"\n").positions()
