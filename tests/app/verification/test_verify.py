"""What verify finds and names: the pipeline only copies, with faults planted in what it makes."""

import json
import shutil

import pytest
from click.testing import CliRunner

from tests.app.verification.clones import (
    METRICS,
    WEIGHTS,
    Pipeline,
    flip_a_bit,
    flip_a_weight,
    make_repository,
    write_journal,
)
from tests.conftest import ROOT
from tests.project import run_in
from tinyllm.app.cli import main
from tinyllm.app.verification.changes import changed_since_lock
from tinyllm.app.verification.verify import Verification, verify
from tinyllm.base.errors import TinyLLMError


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return make_repository(tmp_path / "project")


@pytest.fixture
def pipeline():
    return Pipeline()


@pytest.fixture
def found(project, pipeline):
    """What verify finds here."""
    return lambda changes=(): verify(project, pipeline, lambda _root: list(changes))


def test_what_was_made_is_made_again(project, pipeline, found):
    report = found()
    assert report.reproduced
    assert report.outs == 7
    assert (report.first_stage, report.first_step, report.original_environment) == (None,) * 3
    assert run_in(project, "git", "status", "--porcelain").stdout == ""
    assert not pipeline.clone.exists()


def test_the_clone_holds_the_commit_the_changes_and_the_raw_text_and_no_out(
    project, pipeline, found
):
    (project / "code.py").write_text("changed\n", encoding="utf-8")
    (project / "new.py").write_text("new\n", encoding="utf-8")
    found()
    assert pipeline.seen.pop("dvc.lock") == (project / "dvc.lock").read_text(encoding="utf-8")
    assert pipeline.seen.pop(".gitignore") == (project / ".gitignore").read_text(encoding="utf-8")
    assert {name for name in pipeline.seen if name.startswith("reports/")} == {*METRICS}
    assert {k: v for k, v in pipeline.seen.items() if k not in METRICS} == {
        "code.py": "changed\n",
        "dvc.yaml": "stages: {}\n",
        "new.py": "new\n",
        "params.yaml": "prepare: {source: raw.txt}\n",
        "raw.txt": "To be, or not to be. That is the question.\n",
    }


def test_a_raw_text_that_is_nowhere_is_named(project, found):
    (project / "raw.txt").unlink()
    with pytest.raises(TinyLLMError, match=r"raw text raw\.txt is neither in the commit nor"):
        found()


def test_a_folder_of_raw_texts_comes_along(project, pipeline, found):
    (project / "raw.txt").unlink()
    (project / "raw.txt").mkdir()
    (project / "raw.txt/play.txt").write_text("To be.\n", encoding="utf-8")
    found()
    assert pipeline.seen["raw.txt/play.txt"] == "To be.\n"


@pytest.fixture
def fresh(project):
    """Nothing was made here yet."""
    for name in ("data", "models", ".tinyllm"):
        shutil.rmtree(project / name)
    (project / "reports/train/history.csv").unlink()
    return project


def test_a_fresh_clone_is_verified_from_its_lock_alone(fresh, found):
    report = found()
    assert report.reproduced
    assert report.outs == 7


def test_a_lock_that_cannot_be_made_again_is_found_in_a_fresh_clone(fresh, pipeline, found):
    pipeline.faults.append(lambda clone: flip_a_bit(clone / "models/export/pyfunc/MLmodel", 0))
    report = found()
    assert not report.reproduced
    assert report.first_stage == "export"
    assert report.differences == [
        "export: models/export: differs from dvc.lock, in the clone; it is not here"
    ]


def test_a_lock_that_neither_side_has_is_told(project, found):
    lock = (project / "dvc.lock").read_text(encoding="utf-8")
    at = lock.index("md5: ", lock.index("outs:")) + 5
    other = "0" if lock[at] != "0" else "1"
    (project / "dvc.lock").write_text(lock[:at] + other + lock[at + 1 :], encoding="utf-8")
    report = found()
    assert not report.reproduced
    (difference,) = report.differences
    assert difference.endswith("differs from dvc.lock, here as in the clone")


def test_changed_data_is_named_by_its_first_stage_and_file(pipeline, found):
    pipeline.faults += [
        lambda clone: flip_a_bit(clone / "data/prepared/train-00000.txt", 25),
        lambda clone: flip_a_bit(clone / "data/tokens/train.bin", 150),
    ]
    report = found(["prepare: dependency raw.txt is modified"])
    assert report.changed == ["prepare: dependency raw.txt is modified"]
    assert report.first_stage == "prepare"
    prepared, tokens = report.differences
    shard = "data/prepared/train-00000.txt"
    assert prepared.startswith(f"prepare: {shard}: differs from byte 25 (line 2) on")
    assert tokens.startswith("tokenize: data/tokens/train.bin: differs from byte 150 ")


def test_a_bit_flipped_in_a_weight_is_named_by_its_tensor(project, found):
    flip_a_weight(project)
    report = found()
    assert report.first_stage == "train"
    (difference,) = report.differences
    assert difference.startswith(f"train: {WEIGHTS}: tensor o_proj at [3, 4]: ")


def test_the_step_at_which_the_training_differs_is_named_with_both_environments(pipeline, found):
    pipeline.faults += [flip_a_weight, lambda clone: write_journal(clone, nudge=1e-9)]
    report = found()
    assert report.first_step == 20
    assert report.original_environment == {"cpu": "the first CPU", "version.torch": "1"}
    assert report.environment["version.torch"] != "1"


def test_without_a_journal_there_is_no_step_to_name(project, pipeline, found):
    shutil.rmtree(project / ".tinyllm")
    pipeline.faults += [flip_a_weight, lambda clone: write_journal(clone, nudge=1e-9)]
    report = found()
    assert not report.reproduced
    assert (report.first_step, report.original_environment) == (None, None)


def test_an_out_that_the_clone_did_not_write_is_told(pipeline, found):
    pipeline.faults.append(lambda clone: (clone / "models/checkpoint/config.json").unlink())
    assert found().differences == ["train: models/checkpoint/config.json: is missing rebuilt"]


def test_a_change_alone_is_no_reproduction_though_the_bytes_are_the_same(found):
    report = found(["train: parameter train.seed is 1, in dvc.lock 2"])
    assert not report.reproduced
    assert report.differences == []


def test_without_a_lock_it_says_what_to_do(project, found):
    (project / "dvc.lock").unlink()
    with pytest.raises(TinyLLMError, match="run 'dvc repro' first"):
        found()


def test_a_pipeline_that_fails_leaves_no_clone(pipeline, found):
    def fail(clone):
        raise TinyLLMError("'dvc repro' failed in the clean clone: oh")

    pipeline.faults.append(fail)
    with pytest.raises(TinyLLMError, match="failed in the clean clone"):
        found()
    assert not pipeline.clone.exists()


@pytest.mark.parametrize(
    ("found", "code", "lines"),
    [
        (Verification(outs=9), 0, ["Reproduced: 9 outs of dvc.lock compared, same bytes."]),
        (
            Verification(
                outs=9,
                changed=["train: dependency code.py is modified"],
                differences=["train: model: differs"],
                first_stage="train",
                first_step=10,
                environment={"cpu": "new"},
                original_environment={"cpu": "old"},
            ),
            1,
            [
                "changed since dvc.lock: train: dependency code.py is modified",
                "differs: train: model: differs",
                "training differs from step 10 on",
                "  cpu: old at first, new now",
                "NOT reproduced: 9 outs of dvc.lock compared.",
            ],
        ),
    ],
)
def test_the_command_prints_what_was_found_and_exits_by_it(monkeypatch, found, code, lines):
    monkeypatch.setattr("tinyllm.app.verification.verify.verify", lambda *_: found)
    result = CliRunner().invoke(main, ["verify"])
    assert result.exit_code == code
    assert result.stdout.splitlines() == lines
    assert "Running the pipeline in a clean clone" in result.stderr
    as_json = CliRunner().invoke(main, ["verify", "--json"])
    assert as_json.exit_code == code
    assert json.loads(as_json.stdout) == found.to_dict()
    assert found.to_dict()["reproduced"] is (code == 0)


def test_dvcs_own_status_becomes_words(tmp_path):
    """Once with DVC itself: a parameter, a dependency and an out that changed, and one not here."""
    stage = {
        "cmd": "cp raw.txt out.txt && cp raw.txt gone.txt",
        "deps": ["raw.txt"],
        "params": ["train", "model.width"],
        "outs": ["out.txt", "gone.txt"],
    }
    (tmp_path / "dvc.yaml").write_text(json.dumps({"stages": {"make": stage}}), encoding="utf-8")
    params = "train: {seed: 1, steps: 2}\nmodel: {width: 3, depth: 4}\n"
    (tmp_path / "params.yaml").write_text(params, encoding="utf-8")
    (tmp_path / "raw.txt").write_text("text", encoding="utf-8")
    (tmp_path / ".dvc").mkdir()
    shutil.copyfile(ROOT / ".dvc/config", tmp_path / ".dvc/config")
    run_in(tmp_path, "git", "init", "--quiet")
    run_in(tmp_path, "dvc", "repro", "--quiet")
    (tmp_path / "raw.txt").write_text("another", encoding="utf-8")
    (tmp_path / "out.txt").unlink()
    (tmp_path / "out.txt").write_text("another", encoding="utf-8")
    (tmp_path / "gone.txt").unlink()
    changed = params.replace("seed: 1", "seed: 7").replace("depth: 4", "depth: 5")
    (tmp_path / "params.yaml").write_text(changed, encoding="utf-8")
    assert sorted(changed_since_lock(tmp_path)) == [
        "make: dependency raw.txt is modified",
        "make: out out.txt is modified",
        "make: parameter train.seed is 7, in dvc.lock 1",
    ]


def test_dvc_is_found_beside_this_python(project, monkeypatch):
    """A program of an environment may be called by its path, without the environment's own."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with pytest.raises(TinyLLMError, match="'dvc status' failed"):
        # the small repository is git's alone
        changed_since_lock(project)
