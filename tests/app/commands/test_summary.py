"""What `tinyllm summary` says, before the pipeline has run and after it."""

import json
import shutil

import pytest
from click.testing import CliRunner

from tests.conftest import ROOT
from tinyllm.app.cli import main

TRAINING = {"parameters": 1234, "best_step": 7}
METRICS = {"bits_per_character": 2.5, "baseline_bits_per_character": 2.75, "split": "test"}


@pytest.fixture
def reports(tmp_path, monkeypatch):
    """The reports of a run."""
    monkeypatch.chdir(tmp_path)
    for stage, figures in (("train", TRAINING), ("evaluate", METRICS)):
        (tmp_path / "reports" / stage).mkdir(parents=True)
        (tmp_path / "reports" / stage / "metrics.json").write_text(json.dumps(figures))
    (tmp_path / "reports/evaluate/samples.txt").write_text("--- prompt 'O', seed 0\nO, my lord\n")
    return tmp_path / "reports"


def summary():
    return CliRunner().invoke(main, ["summary"])


def refusal():
    """The one sentence with which the command ends."""
    result = summary()
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    return line


def test_a_finished_run_is_summed_up(reports):
    result = summary()
    assert result.exit_code == 0, result.output
    assert "2.5000 bits per character on the test split" in result.stdout
    assert "1,234 parameters" in result.stdout
    assert "O, my lord" in result.stdout


def test_a_fresh_clone_is_told_to_run_the_pipeline(tmp_path, monkeypatch):
    """Git holds the figures of the last run, and not its samples."""
    monkeypatch.chdir(tmp_path)
    for name in ("train/metrics.json", "evaluate/metrics.json"):
        (tmp_path / "reports" / name).parent.mkdir(parents=True)
        shutil.copyfile(ROOT / "reports" / name, tmp_path / "reports" / name)
    assert "run 'make repro'" in refusal()


def test_an_empty_folder_is_told_to_run_the_pipeline(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "run 'make repro'" in refusal()


@pytest.mark.parametrize(
    "content", ["[]", "null", "{}", "7", '{"bits_per_character": "x"}', "{", "[" * 100_000]
)
@pytest.mark.parametrize("stage", ["train", "evaluate"])
def test_damaged_figures_are_told(reports, stage, content):
    (reports / stage / "metrics.json").write_text(content)
    assert f"{stage}/metrics.json is damaged" in refusal()


def test_damaged_samples_are_told(reports):
    (reports / "evaluate/samples.txt").write_bytes(b"\xff\xfe\xff")
    assert "Cannot read reports/evaluate/samples.txt" in refusal()


def test_the_next_step_fits_the_params(tmp_path, monkeypatch):
    from tinyllm.app.commands.summary import _as_dvc_takes_it

    monkeypatch.chdir(tmp_path)
    for text, expected in {
        "train: {seed: 5}": "train.seed",
        "train: {max_steps: 9}": "+train.seed",
        "prepare: {}": "+train.seed",
        "train: [": "+train.seed",
    }.items():
        (tmp_path / "params.yaml").write_text(text)
        assert _as_dvc_takes_it("train", "seed") == expected
