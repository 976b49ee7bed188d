"""The tracker on a real store: what arrives, how a run ends, and stores that are not there."""

import os
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from tests.waiting import wait_until
from tinyllm.app.commands.sync import sync
from tinyllm.app.config import TrackingConfig
from tinyllm.app.params import flatten
from tinyllm.app.tracking.store import connect, journal_folder
from tinyllm.app.tracking.tracker import Tracker
from tinyllm.base.errors import Interrupted
from tinyllm.base.events import (
    CheckpointWritten,
    DatasetRead,
    ExportWritten,
    FileWritten,
    Measured,
    RunStarted,
)
from tinyllm.evaluation.config import EvaluateConfig
from tinyllm.model.config import ModelConfig
from tinyllm.training.config import TrainingConfig

pytestmark = pytest.mark.medium

FINGERPRINT = "ab" * 16
CONFIG = TrackingConfig(experiment="plays", registered_model="tiny")
TRAINED = {"model": ModelConfig(d_model=64), "train": TrainingConfig(seed=7)}
EVALUATED = {"evaluate": EvaluateConfig(split="val")}
STEPS = range(1, 41)
TEST = {"fingerprint": "e" * 64, "bits_per_character": 2.5}


def track(stage, sections, config=CONFIG):
    return Tracker(RunStarted(stage, FINGERPRINT, sections, "c" * 32), config)


def train(folder, steps=STEPS, error=None):
    """What the train stage records."""
    (folder / "train.bin").write_bytes(b"tokens")
    (folder / "history.csv").write_text("step,loss\n")
    (folder / "checkpoint").mkdir(exist_ok=True)
    (folder / "checkpoint" / "model.safetensors").write_bytes(b"weights")
    with track("train", TRAINED) as tracker:
        tracker.tell(DatasetRead("train", folder / "train.bin", "d" * 64, "training"))
        for step in steps:
            tracker.metrics(step, {"loss": 1 / step, "norm": 2.0})
        if error:
            raise error
        tracker.tell(FileWritten(folder / "history.csv"))
        tracker.tell(Measured(30, {"best_step": 30}))
        tracker.tell(CheckpointWritten(folder / "checkpoint", "c" * 64, 30, {"best_val_loss": 0.5}))


def finish(folder):
    """What the evaluate and the export stage record."""
    (folder / "metrics.json").write_text("{}")
    with track("evaluate", EVALUATED) as tracker:
        tracker.tell(DatasetRead("test", folder / "train.bin", "e" * 64, "evaluation"))
        tracker.tell(Measured(30, {"test_loss": 0.75}))
        tracker.tell(FileWritten(folder / "metrics.json"))
    with track("export", {}) as tracker:
        tags = {"data.train": "d" * 64}
        tracker.tell(ExportWritten(folder / "checkpoint", "c" * 64, 30, TEST, tags, "# A card"))


def fail_to_evaluate():
    with track("evaluate", EVALUATED):
        raise ValueError("again")


def has_points():
    """Whether a run with a metric is in the store."""
    client = connect()
    experiment = client.get_experiment_by_name("plays")
    runs = client.search_runs([experiment.experiment_id]) if experiment else []
    return any(run.data.metrics for run in runs)


def only_run():
    client = connect()
    (run,) = client.search_runs([client.get_experiment_by_name("plays").experiment_id])
    return run


def files_of(run):
    folder = Path(connect().download_artifacts(run.info.run_id, ""))
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def assert_complete(run):
    """Everything of the train stage and the later ones is there, once."""
    client = connect()
    assert run.info.run_name == "d_model=64 seed=7"
    assert run.info.status == "FINISHED"
    params = flatten({**TRAINED, **EVALUATED})
    assert run.data.params == {key: str(value) for key, value in params.items()}
    assert run.data.tags["tinyllm.fingerprint"] == FINGERPRINT
    assert run.data.tags["tinyllm.configuration"] == "c" * 32
    assert "version.torch" in run.data.tags
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(n, 1 / n) for n in STEPS]
    for key, value in {"test_loss": 0.75, "best_step": 30}.items():
        (figure,) = client.get_metric_history(run.info.run_id, key)
        assert (figure.step, figure.value) == (30, value)
    inputs = {data.dataset.name: data for data in run.inputs.dataset_inputs}
    assert len(run.inputs.dataset_inputs) == 2
    assert inputs["train"].dataset.digest == "d" * 36
    assert "train.bin" in inputs["train"].dataset.source
    contexts = {tag.key: tag.value for tag in inputs["test"].tags}
    assert contexts == {"mlflow.data.context": "test", "purpose": "evaluation"}
    assert {"train/history.csv", "evaluate/metrics.json"} <= files_of(run)
    models = client.search_logged_models([run.info.experiment_id])
    assert sorted(model.name for model in models) == ["checkpoint", "export"]
    (version,) = client.search_model_versions("name = 'tiny'")
    assert version.tags["data.train"] == "d" * 64
    assert version.description == "# A card"
    assert client.get_model_version_by_alias("tiny", "champion").run_id == run.info.run_id


def test_all_stages_record_one_run(workspace, same_process):
    train(workspace)
    finish(workspace)
    assert_complete(only_run())


def test_a_second_run_of_the_same_pipeline_adds_nothing(workspace, same_process):
    for _ in range(2):
        train(workspace)
        finish(workspace)
    assert_complete(only_run())


def test_what_resumes_goes_on_in_the_same_run(workspace, same_process):
    with pytest.raises(Interrupted):
        train(workspace, range(1, 25), Interrupted("stopped", 15))
    first = only_run()
    assert first.info.status == "KILLED"
    train(workspace, range(20, 41))
    finish(workspace)
    assert only_run().info.run_id == first.info.run_id
    assert_complete(only_run())


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "FINISHED"),
        (ValueError("oh"), "FAILED"),
        (Interrupted("stopped", 2), "KILLED"),
        (KeyboardInterrupt(), "KILLED"),
    ],
)
def test_the_status_tells_how_a_run_ended(workspace, same_process, error, status):
    if error is None:
        train(workspace, [1])
    else:
        with pytest.raises(type(error)):
            train(workspace, [1], error)
    assert only_run().info.status == status
    assert only_run().data.metrics["loss"] == 1.0


def test_a_later_stage_does_not_close_the_run(workspace, same_process):
    with pytest.raises(ValueError, match="oh"):
        train(workspace, [1], ValueError("oh"))
    finish(workspace)
    assert only_run().info.status == "FAILED"
    train(workspace, [2])
    with pytest.raises(ValueError, match="again"):
        fail_to_evaluate()
    assert only_run().info.status == "FINISHED"


def test_with_tracking_off_nothing_is_written(workspace):
    before = (workspace / "mlflow.db").read_bytes()
    (workspace / "model").mkdir()
    with track("train", TRAINED, TrackingConfig(tracking=False)) as tracker:
        tracker.metrics(1, {"loss": 1.0})
        tracker.tell(Measured(1, {"best_step": 1}))
        tracker.tell(FileWritten(workspace / "mlflow.db"))
        tracker.tell(DatasetRead("train", workspace / "train.bin", "d" * 64, "training"))
        tracker.tell(CheckpointWritten(workspace / "model", "c" * 64, 1, {}))
        tracker.tell(ExportWritten(workspace / "model", "c" * 64, 1, TEST, {}, ""))
    assert {path.name for path in workspace.iterdir()} == {"mlflow.db", "model"}
    assert (workspace / "mlflow.db").read_bytes() == before


def spare_time_is_there():
    """Let the delivery have a share of a core, which other tests may leave no time to spare."""
    for child in psutil.Process().children():
        os.sched_setscheduler(child.pid, os.SCHED_OTHER, os.sched_param(0))
    return True


def test_curves_arrive_while_the_run_goes_on(workspace):
    with track("train", TRAINED) as tracker:
        tracker.metrics(1, {"loss": 1.0})
        wait_until(lambda: spare_time_is_there() and has_points())
        assert only_run().info.status == "RUNNING"
    assert only_run().info.status == "FINISHED"


def test_a_store_that_is_not_there_costs_a_warning_and_sync_makes_up_for_it(
    workspace, monkeypatch, warnings, same_process
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    train(workspace)
    assert [record.levelname for record in warnings.records] == ["WARNING"]
    assert "http://127.0.0.1:9" in warnings.text
    assert "tinyllm sync" in warnings.text
    finish(workspace)
    still_there = CliRunner().invoke(sync)
    assert still_there.exit_code == 1
    assert "nothing is lost" in still_there.stderr
    assert "Traceback" not in still_there.output

    # the stages' folders may be gone when the store is back
    (workspace / "history.csv").unlink()
    (workspace / "checkpoint" / "model.safetensors").unlink()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    first = CliRunner().invoke(sync)
    assert first.exit_code == 0, first.output
    assert f"{FINGERPRINT}: " in first.stdout
    assert "(1 run(s) completed)" in first.stdout
    assert_complete(only_run())
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    second = CliRunner().invoke(sync)
    assert second.exit_code == 0
    assert "(0 run(s) completed)" in second.stdout
    assert_complete(only_run())


def test_sync_without_any_journal_has_nothing_to_do(workspace, warnings):
    result = CliRunner().invoke(sync)
    assert result.exit_code == 0
    assert "(0 run(s) completed)" in result.stdout
    assert not journal_folder().exists()
