"""Verify and reproduce, on a real project with real faults planted."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from safetensors.numpy import load_file, save_file

from tests.project import clean_environment, make_project, run_in
from tinyllm.app.cli import main

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A copy of the project after one `dvc repro`, committed."""
    return make_project(tmp_path_factory.mktemp("made"))


@pytest.fixture
def faulty(made, tmp_path) -> Path:
    """A copy of that project to plant a fault in."""
    return shutil.copytree(made, tmp_path / "faulty", symlinks=True)


@pytest.fixture
def tinyllm(monkeypatch):
    """Run a command of this process in a folder, as a person would there."""
    monkeypatch.setenv("PATH", clean_environment()["PATH"])
    monkeypatch.delenv("DVC_ROOT", raising=False)

    def command(folder: Path, *arguments: str, store: Path | None = None) -> Result:
        monkeypatch.chdir(folder)
        if store is not None:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store / 'mlflow.db'}")
        return CliRunner().invoke(main, list(arguments))

    return command


@pytest.fixture
def verdict(tinyllm):
    """Exit code and report of `tinyllm verify --json`."""

    def command(folder: Path) -> tuple[int, dict]:
        result = tinyllm(folder, "verify", "--json")
        assert result.stdout, result.output
        return result.exit_code, json.loads(result.stdout)

    return command


def flip_a_bit(path: Path, offset: int) -> None:
    """Turn the lowest bit of a byte."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def test_what_was_made_is_made_again(made, verdict):
    code, report = verdict(made)
    assert code == 0, report
    assert report["reproduced"] is True
    assert report["outs"] >= 9
    assert run_in(made, "git", "status", "--porcelain").stdout == ""


@pytest.fixture
def fresh(made, tmp_path) -> Path:
    """A clone of that project in which nothing was made yet."""
    run_in(made, "git", "clone", "--quiet", ".", str(tmp_path / "fresh"))
    assert not (tmp_path / "fresh/models/checkpoint").exists()
    return tmp_path / "fresh"


def test_a_fresh_clone_is_verified_from_its_lock_alone(fresh, verdict):
    code, report = verdict(fresh)
    assert code == 0, report
    assert report["outs"] >= 9


@pytest.mark.exhaustive
def test_a_lock_that_cannot_be_made_again_is_found_in_a_fresh_clone(fresh, verdict):
    lock = (fresh / "dvc.lock").read_text(encoding="utf-8")
    (whole, digit) = re.search(r"path: models/export\n.*\n\s+md5: (.)", lock).group(0, 1)
    other = whole[:-1] + ("0" if digit != "0" else "1")
    (fresh / "dvc.lock").write_text(lock.replace(whole, other), encoding="utf-8")
    code, report = verdict(fresh)
    assert code == 1
    assert report["first_stage"] == "export"
    (difference,) = report["differences"]
    assert "differs from dvc.lock, in the clone" in difference


@pytest.mark.exhaustive
def test_a_bit_flipped_in_the_data_is_named(faulty, verdict):
    flip_a_bit(faulty / "data/raw/sample/the-salt-duke.txt", 30_000)
    code, report = verdict(faulty)
    assert code == 1
    assert any("prepare: dependency" in line and "salt-duke" in line for line in report["changed"])
    assert report["first_stage"] == "prepare"
    assert any(line.startswith("prepare: data/prepared/") for line in report["differences"])


@pytest.mark.exhaustive
def test_a_changed_parameter_is_named_with_the_step_it_tells_at(faulty, verdict):
    params = (faulty / "params.yaml").read_text(encoding="utf-8")
    changed = params.replace("warmup_steps: 5", "warmup_steps: 6")
    (faulty / "params.yaml").write_text(changed, encoding="utf-8")
    code, report = verdict(faulty)
    assert code == 1
    assert any("train: parameter train.warmup_steps" in line for line in report["changed"])
    assert report["first_stage"] == "train"
    assert report["first_step"] == 10


@pytest.mark.exhaustive
def test_changed_code_is_named(faulty, verdict):
    code_file = faulty / "tinyllm/training/muon.py"
    code_file.write_text(code_file.read_text().replace("-23.6204", "-23.6205"), encoding="utf-8")
    code, report = verdict(faulty)
    assert code == 1
    assert any("train: dependency tinyllm/training" in line for line in report["changed"])
    assert any("model.safetensors: tensor " in line for line in report["differences"])


@pytest.mark.exhaustive
def test_a_bit_flipped_in_a_weight_is_named_by_its_tensor(faulty, verdict):
    path = faulty / "models/checkpoint/model.safetensors"
    weights = load_file(path)
    weights["blocks.1.attention.o_proj.weight"].view(np.uint32)[3, 4] ^= 1
    path.unlink()
    save_file(weights, path)
    code, report = verdict(faulty)
    assert code == 1
    assert any("train: out models/checkpoint is modified" in line for line in report["changed"])
    assert any("o_proj.weight at [3, 4]" in line for line in report["differences"])


@pytest.mark.exhaustive
def test_a_bit_flipped_in_the_tokens_is_named_by_its_file(faulty, verdict):
    path = faulty / "data/tokens/train.bin"
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)
    flip_a_bit(path, 5_000)
    code, report = verdict(faulty)
    assert code == 1
    assert any("tokenize: out data/tokens is modified" in line for line in report["changed"])
    assert report["first_stage"] == "tokenize"
    assert any("train.bin: differs from byte 5000" in line for line in report["differences"])


def test_the_champion_is_made_again_from_the_registry_alone(made, tmp_path, tinyllm):
    clone = tmp_path / "clone"
    run_in(tmp_path, "git", "clone", "--quiet", str(made), str(clone))
    result = tinyllm(clone, "reproduce", "models:/tinyllm@champion", store=made)
    assert result.exit_code == 0, result.output
    assert "Reproduced" in result.stdout
    missing = tinyllm(clone, "reproduce", "models:/tinyllm@nobody", store=made)
    assert missing.exit_code == 1
    assert re.match(r"Error: Cannot find models:/tinyllm@nobody in sqlite", missing.stderr)


@pytest.mark.exhaustive
def test_a_model_made_from_uncommitted_changes_is_made_again(faulty, tmp_path, tinyllm):
    (faulty / "own.txt").write_text("A text that no commit holds.\n" * 300, encoding="utf-8")
    run_in(faulty, "git", "add", "own.txt")
    params = (faulty / "params.yaml").read_text(encoding="utf-8")
    params = params.replace("data/raw/sample/the-salt-duke.txt", "own.txt")
    (faulty / "params.yaml").write_text(params, encoding="utf-8")
    run_in(faulty, "dvc", "repro")
    clone = tmp_path / "clone"
    run_in(tmp_path, "git", "clone", "--quiet", str(faulty), str(clone))
    result = tinyllm(clone, "reproduce", "models:/tinyllm@candidate", store=faulty)
    assert result.exit_code == 0, result.output
    assert "with uncommitted changes" in result.stdout
    assert "Reproduced" in result.stdout
