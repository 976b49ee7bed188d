"""Verify and reproduce, on a real project with real faults planted."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.project import make_project, run_in

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A copy of the project after one `dvc repro`, committed."""
    return make_project(tmp_path_factory.mktemp("made"))


@pytest.fixture
def faulty(made, tmp_path) -> Path:
    """A copy of that project to plant a fault in."""
    return shutil.copytree(made, tmp_path / "faulty", symlinks=True)


def verdict(folder: Path) -> tuple[int, dict]:
    """Exit code and report of `tinyllm verify --json`."""
    result = run_in(folder, "tinyllm", "verify", "--json", check=False)
    assert result.stdout, result.stderr
    return result.returncode, json.loads(result.stdout)


def flip_a_bit(path: Path, offset: int) -> None:
    """Turn the lowest bit of a byte."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def test_what_was_made_is_made_again(made):
    code, report = verdict(made)
    assert code == 0, report
    assert report["reproduced"] is True
    assert report["outs"] >= 9
    assert run_in(made, "git", "status", "--porcelain").stdout == ""


@pytest.mark.exhaustive
def test_a_bit_flipped_in_the_data_is_named(faulty):
    flip_a_bit(faulty / "data/raw/sample/the-salt-duke.txt", 30_000)
    code, report = verdict(faulty)
    assert code == 1
    assert any("prepare: dependency" in line and "salt-duke" in line for line in report["changed"])
    assert report["first_stage"] == "prepare"
    assert any(line.startswith("prepare: data/prepared/") for line in report["differences"])


@pytest.mark.exhaustive
def test_a_changed_parameter_is_named_with_the_step_it_tells_at(faulty):
    params = (faulty / "params.yaml").read_text(encoding="utf-8")
    changed = params.replace("warmup_steps: 5", "warmup_steps: 6")
    (faulty / "params.yaml").write_text(changed, encoding="utf-8")
    code, report = verdict(faulty)
    assert code == 1
    assert any("train: parameter train.warmup_steps" in line for line in report["changed"])
    assert report["first_stage"] == "train"
    assert report["first_step"] == 10


@pytest.mark.exhaustive
def test_changed_code_is_named(faulty):
    code_file = faulty / "tinyllm/training/muon.py"
    code_file.write_text(code_file.read_text().replace("-4.7750", "-4.7751"), encoding="utf-8")
    code, report = verdict(faulty)
    assert code == 1
    assert any("train: dependency tinyllm/training" in line for line in report["changed"])
    assert any("model.safetensors: tensor " in line for line in report["differences"])


@pytest.mark.exhaustive
def test_a_bit_flipped_in_a_weight_is_named_by_its_tensor(faulty):
    path = faulty / "models/checkpoint/model.safetensors"
    weights = load_file(path)
    weights["blocks.1.attention.o_proj.weight"].view(np.uint32)[3, 4] ^= 1
    path.unlink()
    save_file(weights, path)
    code, report = verdict(faulty)
    assert code == 1
    assert any("train: out models/checkpoint is modified" in line for line in report["changed"])
    assert any("o_proj.weight at [3, 4]" in line for line in report["differences"])


def test_the_champion_is_made_again_from_the_registry_alone(made, tmp_path):
    clone = tmp_path / "clone"
    run_in(tmp_path, "git", "clone", "--quiet", str(made), str(clone))
    store = f"sqlite:///{made / 'mlflow.db'}"
    command = ["env", f"MLFLOW_TRACKING_URI={store}", "tinyllm", "reproduce"]
    result = run_in(clone, *command, "models:/tinyllm@champion")
    assert "Reproduced" in result.stdout
    missing = run_in(clone, *command, "models:/tinyllm@nobody", check=False)
    assert missing.returncode == 1
    assert re.match(r"Error: Cannot find models:/tinyllm@nobody in sqlite", missing.stderr)


@pytest.mark.exhaustive
def test_a_model_made_from_uncommitted_changes_is_made_again(faulty, tmp_path):
    (faulty / "own.txt").write_text("A text that no commit holds.\n" * 300, encoding="utf-8")
    params = (faulty / "params.yaml").read_text(encoding="utf-8")
    params = params.replace("data/raw/sample/the-salt-duke.txt", "own.txt")
    (faulty / "params.yaml").write_text(params, encoding="utf-8")
    run_in(faulty, "dvc", "repro")
    clone = tmp_path / "clone"
    run_in(tmp_path, "git", "clone", "--quiet", str(faulty), str(clone))
    store = f"MLFLOW_TRACKING_URI=sqlite:///{faulty / 'mlflow.db'}"
    result = run_in(clone, "env", store, "tinyllm", "reproduce", "models:/tinyllm@champion")
    assert "with uncommitted changes" in result.stdout
    assert "Reproduced" in result.stdout
