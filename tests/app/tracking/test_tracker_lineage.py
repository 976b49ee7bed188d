"""What the tracker keeps of where a run comes from, and of figures measured again."""

import subprocess
from pathlib import Path

import pytest

from tinyllm.app.config import TrackingConfig
from tinyllm.app.tracking.store import connect
from tinyllm.app.tracking.tracker import Tracker
from tinyllm.base.events import Measured, RunStarted
from tinyllm.training.config import TrainingConfig

pytestmark = pytest.mark.usefixtures("same_process")

CONFIG = TrackingConfig(experiment="plays", registered_model="tiny")
IGNORED = "mlflow.db\nmlruns\n.tinyllm\n"


def git(*arguments):
    names = ("-c", "user.name=Duke", "-c", "user.email=duke@example.org")
    subprocess.run(["git", *names, *arguments], check=True)


@pytest.fixture
def repository(workspace, monkeypatch):
    """The workspace as a repository with one commit."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    (workspace / ".gitignore").write_text(IGNORED)
    (workspace / "params.yaml").write_text("train: {seed: 1}\n")
    (workspace / "dvc.lock").write_text("schema: '2.0'\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    return workspace


def record(stage, **figures):
    started = RunStarted(stage, "ab" * 16, {"train": TrainingConfig(seed=7)})
    with Tracker(started, CONFIG) as tracker:
        tracker.tell(Measured(30, figures))


def only_run():
    client = connect()
    (run,) = client.search_runs([client.get_experiment_by_name("plays").experiment_id])
    return run


def files():
    """Every artifact of the run by its name."""
    folder = Path(connect().download_artifacts(only_run().info.run_id, ""))
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_params_file_lock_file_and_patch_are_kept_with_the_run(repository):
    (repository / "params.yaml").write_text("train: {seed: 7}\n")
    (repository / "dvc.lock").write_text("schema: '3.0'\n")
    (repository / "new.py").write_bytes(b"caf\xe9\r\n")
    record("train")
    assert only_run().data.tags["git.uncommitted"] == "yes"
    kept = files()
    names = ("params.yaml", "dvc.lock", "uncommitted.patch")
    assert set(kept) == {f"lineage/train/{name}" for name in names}
    assert kept["lineage/train/params.yaml"] == b"train: {seed: 7}\n"
    assert kept["lineage/train/dvc.lock"] == b"schema: '3.0'\n"
    patch = kept["lineage/train/uncommitted.patch"]
    assert b"+train: {seed: 7}" in patch
    assert b"+caf\xe9\r\n" in patch
    assert b"dvc.lock" not in patch


def test_every_stage_keeps_its_own_patch(repository):
    for stage in ("train", "evaluate"):
        (repository / "params.yaml").write_text(f"train: {{seed: 7}} # {stage}\n")
        record(stage)
    for stage in ("train", "evaluate"):
        assert f"# {stage}".encode() in files()[f"lineage/{stage}/uncommitted.patch"]


def test_without_uncommitted_changes_there_is_no_patch(repository):
    (repository / "dvc.lock").write_text("schema: '3.0'\n")
    record("train")
    assert only_run().data.tags["git.uncommitted"] == "no"
    assert set(files()) == {"lineage/train/params.yaml", "lineage/train/dvc.lock"}


@pytest.mark.parametrize("stage", ["evaluate", "export"])
def test_a_stage_that_creates_the_run_leaves_it_ended(workspace, stage):
    record(stage, test_loss=0.5)
    assert only_run().info.status == "FINISHED"
    assert only_run().data.metrics == {"test_loss": 0.5}
    record("train", best_step=30)
    assert only_run().info.status == "FINISHED"
    assert only_run().data.metrics == {"test_loss": 0.5, "best_step": 30}


def test_evaluating_again_replaces_the_figures(workspace):
    record("train")
    for loss in (0.5, 0.75, 0.75):
        record("evaluate", test_loss=loss, characters=100)
    assert only_run().data.metrics == {"test_loss": 0.75, "characters": 100}
    history = connect().get_metric_history(only_run().info.run_id, "test_loss")
    assert [(point.step, point.value) for point in history] == [(30, 0.5), (30, 0.75)]


SECRET = "hunter2-do-not-tell"  # pragma: allowlist secret


def test_secrets_and_large_files_stay_here_and_are_named_once(repository, warnings):
    for name in (".env", "keys/id_rsa", "notes/key.txt"):
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_text(SECRET)
    with (repository / "large.bin").open("wb") as file:
        file.truncate(300_000_000)
    (repository / "stage.py").write_text("x = 1\n")
    for stage in ("train", "evaluate", "export"):
        record(stage)
    (message,) = (record.getMessage() for record in warnings.records)
    for name in (".env", "keys/id_rsa", "notes/key.txt", "large.bin"):
        assert repr(name) in message
    assert "stage.py" not in message
    assert b"+x = 1" in files()["lineage/export/uncommitted.patch"]
    planted = {repository / name for name in (".env", "keys/id_rsa", "notes/key.txt", "large.bin")}
    written = {path for path in repository.rglob("*") if path.is_file()} - planted
    assert not [path for path in written if SECRET.encode() in path.read_bytes()]
    assert max(path.stat().st_size for path in written if "mlruns" in path.parts) < 1_000_000


def test_where_everything_is_tracked_or_ignored_nobody_is_warned(repository, warnings):
    (repository / ".gitignore").write_text(f"{IGNORED}.env\nmlflow.db.lock\n")
    (repository / ".env").write_text(SECRET)
    record("train")
    assert not warnings.records


def test_of_many_files_a_few_are_named(repository, warnings):
    for number in range(12):
        (repository / f"{number:02}.txt").write_text("x")
    record("train")
    (message,) = (record.getMessage() for record in warnings.records)
    assert "'04.txt' and " in message
    assert "'05.txt'" not in message
