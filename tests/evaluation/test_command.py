"""The stages train and evaluate on parts of their splits, from the command line."""

import json

import pytest
from click.testing import CliRunner

from tinyllm.app.cli import main

SMALL = ["--d-model=8", "--num-heads=1", "--num-layers=1", "--d-ff=8", "--sequence-length=16"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder as the current one, and as the project."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return tmp_path


def call(*arguments):
    result = CliRunner().invoke(main, [*map(str, arguments), "--no-tracking", "--no-progress"])
    assert result.exit_code == 0, result.output
    return result.output


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def test_what_was_left_out_is_said_and_written(tokens, place):
    checkpoint, reports, out = (place / name for name in ("model", "train", "evaluate"))
    steps = ["--max-steps=4", "--warmup-steps=1", "--eval-interval=2"]
    bounds = ["--eval-characters=160", "--final-eval-characters=800"]
    places = ["--tokens", tokens, "--out", checkpoint, "--reports", reports]
    said = call("train", *places, *SMALL, *steps, *bounds)
    assert "Each validation reads 160 of 2,000 tokens, evenly spread over the split." in said
    assert "now read 800 of 2,000 tokens of the validation split." in said
    assert metrics(reports)["val_characters"] == 800
    places = ["--checkpoint", checkpoint, "--tokens", tokens, "--out", out]
    bounds = ["--max-characters=320", "--baseline-characters=5000", "--sample-seeds=0"]
    said = call("evaluate", *places, *bounds, "--baseline-order=3")
    assert "(3-gram model: " in said
    assert "Measured on 320 of 2,000 characters, evenly spread; the rest is left out" in said
    assert "counted from 5,000 tokens of the training split, evenly spread" in said
    assert metrics(out)["scored_characters"] == 320
    assert metrics(out)["baseline_characters"] == 5000


def test_what_was_read_whole_is_not_mentioned(tokens, checkpoint_folder, place):
    out = place / "evaluate"
    places = ["--checkpoint", checkpoint_folder, "--tokens", tokens, "--out", out]
    said = call("evaluate", *places, "--sample-seeds=0")
    assert "left out" not in said
    assert not {"scored_characters", "baseline_characters"} & metrics(out).keys()
