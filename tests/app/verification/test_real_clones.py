"""Verify and reproduce with the real pipeline in a clean clone, as a person uses them."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.project import copy_made, run_in
from tinyllm.app.cli import main
from tinyllm.app.verification.rebuild import run_pipeline
from tinyllm.base.errors import TinyLLMError


@pytest.fixture
def tinyllm(monkeypatch):
    """Run a command of this process in a folder, as a person would there."""
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def command(folder: Path, *arguments: str, store: Path | None = None) -> Result:
        monkeypatch.chdir(folder)
        if store is not None:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store / 'mlflow.db'}")
        return CliRunner().invoke(main, list(arguments))

    return command


def clone_of(project: Path, place: Path) -> Path:
    """A clone of a project in which nothing was made yet."""
    run_in(project, "git", "clone", "--quiet", ".", str(place))
    assert not (place / "models/checkpoint").exists()
    return place


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_fresh_clone_is_verified_from_its_lock_alone(made_project, tmp_path, tinyllm):
    result = tinyllm(clone_of(made_project, tmp_path / "fresh"), "verify", "--json")
    assert result.stdout, result.output
    report = json.loads(result.stdout)
    assert result.exit_code == 0, report
    assert report["reproduced"] is True
    assert report["outs"] >= 9


@pytest.mark.slow
def test_the_champion_is_made_again_from_the_registry_alone(made_project, tmp_path, tinyllm):
    clone = clone_of(made_project, tmp_path / "clone")
    result = tinyllm(clone, "reproduce", "models:/tinyllm@champion", store=made_project)
    assert result.exit_code == 0, result.output
    assert re.search(r"^Reproduced: weights [0-9a-f]{64}$", result.stdout, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_changed_code_is_named_with_the_tensor_and_the_step(made_project, tmp_path, tinyllm):
    faulty = copy_made(made_project, tmp_path / "faulty")
    code = faulty / "tinyllm/training/muon.py"
    code.write_text(code.read_text().replace("-23.6204", "-23.6205"), encoding="utf-8")
    result = tinyllm(faulty, "verify", "--json")
    report = json.loads(result.stdout)
    assert result.exit_code == 1
    assert any("train: dependency tinyllm/training" in line for line in report["changed"])
    assert any("model.safetensors: tensor " in line for line in report["differences"])
    assert report["first_stage"] == "train"
    assert report["first_step"] == 10


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_model_made_from_uncommitted_changes_is_made_again(made_project, tmp_path, tinyllm):
    changed = copy_made(made_project, tmp_path / "changed")
    (changed / "own.txt").write_text("A text that no commit holds.\n" * 300, encoding="utf-8")
    run_in(changed, "git", "add", "own.txt")
    params = (changed / "params.yaml").read_text(encoding="utf-8")
    params = params.replace("data/raw/sample/the-salt-duke.txt", "own.txt")
    (changed / "params.yaml").write_text(params, encoding="utf-8")
    run_in(changed, "dvc", "repro")
    clone = clone_of(changed, tmp_path / "clone")
    result = tinyllm(clone, "reproduce", "models:/tinyllm@candidate", store=changed)
    assert result.exit_code == 0, result.output
    assert "with uncommitted changes" in result.stdout
    assert "Reproduced" in result.stdout


def test_what_the_pipeline_is_at_is_told(tmp_path):
    said = "echo '12 more steps take about 2 minutes'; printf '5%%\\rstep 5: 2.1 bits\\nother\\n'"
    stages = {"prepare": {"cmd": "true"}, "train": {"cmd": said}}
    (tmp_path / "dvc.yaml").write_text(json.dumps({"stages": stages}), encoding="utf-8")
    run_in(tmp_path, "git", "init", "--quiet")
    run_in(tmp_path, "dvc", "init", "--quiet")
    told = []
    run_pipeline(tmp_path, told.append)
    progress = ["train", "  12 more steps take about 2 minutes", "  step 5: 2.1 bits"]
    assert told in (["prepare", *progress], [*progress, "prepare"])


def test_a_stage_that_fails_in_the_clone_is_told_with_what_it_said(tmp_path):
    stage = {"cmd": "echo it is the salt >&2; exit 3"}
    (tmp_path / "dvc.yaml").write_text(json.dumps({"stages": {"season": stage}}), encoding="utf-8")
    run_in(tmp_path, "git", "init", "--quiet")
    run_in(tmp_path, "dvc", "init", "--quiet")
    with pytest.raises(TinyLLMError) as caught:
        run_pipeline(tmp_path)
    message = str(caught.value)
    assert message.startswith("'dvc repro' failed in the clean clone: ")
    assert "failed to reproduce 'season'" in message
