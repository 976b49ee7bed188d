"""What reproduce takes from MLflow, and what it finds, with a pipeline that only copies."""

import json
import shutil

import pytest
from click.testing import CliRunner

from tests.app.conftest import SameProcess
from tests.app.verification.clones import (
    FINGERPRINT,
    WEIGHTS,
    Pipeline,
    flip_a_bit,
    flip_a_weight,
    make_repository,
)
from tests.project import run_in
from tinyllm.app.cli import main
from tinyllm.app.config import TrackingConfig
from tinyllm.app.tracking.store import connect
from tinyllm.app.tracking.tracker import Tracker
from tinyllm.app.verification.reproduce import Reproduction, reproduce
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.events import CheckpointWritten, DatasetRead, ExportWritten, RunStarted
from tinyllm.base.files import sha256

CHAMPION = "models:/tinyllm@champion"


def record(project):
    """What the stages tell MLflow of the model that lies in a project."""
    weights = sha256(project / WEIGHTS)
    with Tracker(RunStarted("train", FINGERPRINT, {}), TrackingConfig()) as tracker:
        for split in ("train", "val"):
            text = project / f"data/prepared/{split}-00000.txt"
            tracker.tell(DatasetRead(split, text, sha256(text), "training"))
        tracker.tell(CheckpointWritten(project / "models/checkpoint", weights, 30, {}))
    with Tracker(RunStarted("export", FINGERPRINT, {}), TrackingConfig()) as tracker:
        test = {"fingerprint": "e" * 64, "bits_per_character": 2.5}
        folder = project / "models/export/pyfunc"
        tracker.tell(ExportWritten(folder, weights, 30, test, {}, "# A card"))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, empty_store):
    """A repository whose model is in the registry; nothing of what was made is here any more."""
    folder = tmp_path_factory.mktemp("recorded")
    shutil.copyfile(empty_store, folder / "mlflow.db")
    make_repository(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DVC_ROOT", str(folder))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setattr("tinyllm.app.tracking.tracker.BackgroundDelivery", SameProcess)
        record(folder)
    for name in ("data", "models", "reports"):
        shutil.rmtree(folder / name)
    return folder


@pytest.fixture
def project(recorded, monkeypatch):
    """That repository, as current folder."""
    monkeypatch.chdir(recorded)
    monkeypatch.setenv("DVC_ROOT", str(recorded))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return recorded


@pytest.fixture
def pipeline():
    return Pipeline()


@pytest.fixture
def found(project, pipeline):
    """What reproduce finds."""
    return lambda source=CHAMPION: reproduce(project, source, pipeline)


def run_of(project):
    return connect().get_model_version_by_alias("tinyllm", "champion").run_id


def test_the_champion_is_made_again_from_the_registry_alone(project, pipeline, found):
    report = found()
    assert report.reproduced
    assert report.differences == []
    assert report.rebuilt_weights == report.weights
    assert report.commit == run_in(project, "git", "rev-parse", "HEAD").stdout.strip()
    assert report.run_id == run_of(project)
    assert report.uncommitted is False
    assert pipeline.seen["raw.txt"].startswith("To be")
    assert not pipeline.clone.exists()


def test_what_was_committed_since_does_not_matter(project, pipeline, found):
    made_from = run_in(project, "git", "rev-parse", "HEAD").stdout.strip()
    (project / "code.py").write_text("later\n", encoding="utf-8")
    (project / "params.yaml").write_text("prepare: {source: elsewhere.txt}\n", encoding="utf-8")
    run_in(project, "git", "commit", "--quiet", "--all", "--message", "later")
    report = found()
    assert (report.reproduced, report.commit) == (True, made_from)
    assert pipeline.seen["code.py"] == "pass\n"
    assert "raw.txt" in pipeline.seen["params.yaml"]


def test_a_model_made_from_uncommitted_changes_is_made_again(workspace, pipeline, same_process):
    make_repository(workspace)
    (workspace / "code.py").write_text("changed\n", encoding="utf-8")
    (workspace / "own.txt").write_text("A text that no commit holds.\n", encoding="utf-8")
    run_in(workspace, "git", "add", "own.txt")
    params = "prepare: {source: own.txt}\n"
    (workspace / "params.yaml").write_text(params, encoding="utf-8")
    record(workspace)
    run_in(workspace, "git", "reset", "--hard", "--quiet")
    report = reproduce(workspace, CHAMPION, pipeline)
    assert report.reproduced
    assert report.uncommitted is True
    assert pipeline.seen["code.py"] == "changed\n"
    assert pipeline.seen["own.txt"] == "A text that no commit holds.\n"
    assert pipeline.seen["params.yaml"] == params


def test_other_weights_are_told_by_their_checksums_and_their_tensor(pipeline, found):
    pipeline.faults.append(flip_a_weight)
    pipeline.faults.append(
        lambda clone: shutil.copyfile(
            clone / WEIGHTS, clone / "models/export/pyfunc" / WEIGHTS.name
        )
    )
    report = found()
    assert not report.reproduced
    weights, exported = report.differences
    assert weights == (f"{WEIGHTS}: SHA-256 {report.rebuilt_weights}, registered {report.weights}")
    assert exported.startswith("models/export/pyfunc/model.safetensors: tensor o_proj at [3, 4]")


def test_other_data_are_named_by_their_split(pipeline, found):
    pipeline.faults.append(lambda clone: flip_a_bit(clone / "data/prepared/val-00000.txt", 3))
    assert found().differences == [
        "data: the val split has another fingerprint than the run recorded"
    ]


def test_a_file_of_the_export_that_differs_is_named(pipeline, found):
    pipeline.faults.append(lambda clone: flip_a_bit(clone / "models/export/pyfunc/MLmodel", 0))
    (difference,) = found().differences
    assert difference.startswith("models/export/pyfunc/MLmodel: differs from byte 0 ")


def test_a_pipeline_that_exports_no_such_model_is_told(pipeline, found):
    pipeline.faults.append(lambda clone: shutil.rmtree(clone / "models/export/pyfunc"))
    with pytest.raises(TinyLLMError, match=r"export\.formats lacks it"):
        found()


def test_a_run_is_made_again_by_its_id_and_its_checkpoint(project, pipeline, found):
    pipeline.faults.append(lambda clone: flip_a_bit(clone / "models/export/pyfunc/MLmodel", 0))
    report = found(run_of(project))
    assert report.reproduced
    assert report.weights == report.rebuilt_weights


@pytest.mark.parametrize("source", ["models:/tinyllm@nobody", "models:/tinyllm/9", "0" * 32])
def test_a_model_that_is_not_there_is_named(found, source):
    with pytest.raises(TinyLLMError, match=rf"^Cannot find {source} in sqlite:.*\.$") as caught:
        found(source)
    assert "\n" not in str(caught.value)


def test_what_a_run_did_not_record_is_named(project, found):
    client = connect()
    experiment = client.get_experiment_by_name("tinyllm").experiment_id
    run = client.create_run(experiment, tags={"git.commit": "0" * 40}).info.run_id
    with pytest.raises(
        TinyLLMError, match=r"did not record params\.yaml and the weights' checksum\.$"
    ):
        found(run)


def test_a_commit_that_is_not_here_is_named(project, found):
    client, run = connect(), run_of(project)
    commit = client.get_run(run).data.tags["git.commit"]
    client.set_tag(run, "git.commit", "0" * 40)
    try:
        with pytest.raises(TinyLLMError, match=f"Commit {'0' * 40} is not in this repository"):
            found()
    finally:
        client.set_tag(run, "git.commit", commit)


@pytest.mark.parametrize(
    ("differences", "code", "lines"),
    [
        ([], 0, ["Run r1, commit 012345678901", "Reproduced: weights w2"]),
        (
            ["x: y"],
            1,
            ["Run r1, commit 012345678901", "differs: x: y", "NOT reproduced: weights w2"],
        ),
    ],
)
def test_the_command_prints_what_was_found_and_exits_by_it(monkeypatch, differences, code, lines):
    found = Reproduction("s", "r1", "0123456789" * 4, uncommitted=False, weights="w1")
    found.rebuilt_weights, found.differences = "w2", differences
    monkeypatch.setattr("tinyllm.app.verification.reproduce.reproduce", lambda *_: found)
    result = CliRunner().invoke(main, ["reproduce", "s"])
    assert result.exit_code == code
    assert result.stdout.splitlines() == lines
    as_json = CliRunner().invoke(main, ["reproduce", "s", "--json"])
    assert as_json.exit_code == code
    assert json.loads(as_json.stdout) == {"reproduced": code == 0, **found.to_dict()}
    found.uncommitted = True
    assert "with uncommitted changes" in CliRunner().invoke(main, ["reproduce", "s"]).stdout
