"""Names of runs: what differs from the defaults."""

import pytest

from tests.conftest import ROOT
from tests.project import run_in
from tinyllm.app.params import flatten, load_params
from tinyllm.app.tracking.naming import all_params, run_name
from tinyllm.app.tracking.note import run_note
from tinyllm.base.errors import ConfigError
from tinyllm.evaluation.config import EvaluateConfig
from tinyllm.model.config import ModelConfig
from tinyllm.training.config import TrainingConfig

COMMITTED = flatten(load_params(ROOT / "params.yaml"))


@pytest.fixture(autouse=True)
def no_experiment(monkeypatch):
    monkeypatch.delenv("DVC_EXP_NAME", raising=False)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "baseline"),
        ({"train.max_steps": 4321}, "max_steps=4321"),
        ({"model.d_model": 46, "train.seed": 7}, "d_model=46 seed=7"),
        ({"evaluate.split": "val"}, "split=val"),
        ({"train.weight_decay": 0.3125}, "weight_decay=0.3125"),
        # how a run is carried out is no part of what it is
        ({"runtime.threads": 9, "tracking.experiment": "other"}, "baseline"),
        ({"runtime.threads": 9, "train.seed": 7}, "seed=7"),
    ],
)
def test_a_name_is_what_differs_from_the_defaults(changes, name):
    assert run_name({**COMMITTED, **changes}) == name


def test_some_of_the_params_are_enough():
    default = COMMITTED["train.max_steps"]
    assert run_name({"train.max_steps": default}) == "baseline"
    assert run_name({"train.max_steps": default + 1}) == f"max_steps={default + 1}"


def test_the_name_of_an_experiment_comes_first(monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "wooly-ides")
    assert run_name(COMMITTED) == "wooly-ides baseline"
    assert run_name({**COMMITTED, "train.seed": 7}) == "wooly-ides seed=7"


def test_a_long_name_is_cut_at_eighty_characters(monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "e" * 65)
    assert run_name({**COMMITTED, "train.seed": 12345678}) == "e" * 65 + " seed=12345678"
    monkeypatch.setenv("DVC_EXP_NAME", "e" * 67)
    assert run_name({**COMMITTED, "train.seed": 1234567}) == "e" * 67 + " seed=1234567"
    monkeypatch.setenv("DVC_EXP_NAME", "e" * 68)
    assert run_name({**COMMITTED, "train.seed": 1234567}) == "e" * 68 + " seed=12345…"
    monkeypatch.setenv("DVC_EXP_NAME", "e" * 300)
    assert run_name(COMMITTED) == "e" * 79 + "…"


def test_all_params_are_those_given_where_there_is_no_file(workspace):
    assert all_params({"model": ModelConfig(d_model=64)}) == flatten(
        {"model": ModelConfig(d_model=64)}
    )


def test_all_params_take_the_other_sections_from_the_file(workspace):
    (workspace / "params.yaml").write_text("train: {max_steps: 7, warmup_steps: 1}\n")
    params = all_params({"model": ModelConfig(d_model=64)})
    assert set(params) == set(COMMITTED)
    assert params["train.max_steps"] == 7
    assert params["model.d_model"] == 64
    assert params["evaluate.split"] == EvaluateConfig().split


def test_the_sections_that_a_command_has_go_before_those_of_the_file(workspace):
    said = "export: {license: mit, languages: [en]}"
    (workspace / "params.yaml").write_text(f"train: {{max_steps: 70, seed: 5}}\n{said}\n")
    params = all_params({"train": TrainingConfig(max_steps=90)})
    assert params["train.max_steps"] == 90
    assert params["train.seed"] == TrainingConfig().seed


def test_a_file_with_a_fault_is_refused(workspace):
    (workspace / "params.yaml").write_text("train: {max_stepz: 7}\n")
    with pytest.raises(ConfigError, match="did you mean max_steps"):
        all_params({})


def test_the_baseline_is_the_committed_file(workspace):
    said = "export: {license: mit, languages: [en]}"
    (workspace / "params.yaml").write_text(f"train: {{max_steps: 70, seed: 5}}\n{said}\n")
    run_in(workspace, "git", "init", "--quiet")
    run_in(workspace, "git", "add", "params.yaml")
    run_in(workspace, "git", "commit", "--quiet", "--message", "mine")
    assert run_name({**COMMITTED, "train.max_steps": 70, "train.seed": 5}) == "baseline"
    assert run_name({**COMMITTED, "train.max_steps": 90, "train.seed": 5}) == "max_steps=90"
    note = run_note({**COMMITTED, "train.max_steps": 90, "train.seed": 5}, {})
    assert "90 steps of 8 windows by muon" in note
    assert note.endswith("- `train.max_steps`: 90")
