"""Deliveries that break off, race with the stage, or find that the copies are gone."""

import logging
from pathlib import Path

import mlflow
import pytest

from tinyllm.app.tracking.delivery import Delivery
from tinyllm.app.tracking.journal import Journal
from tinyllm.app.tracking.store import connect

pytestmark = pytest.mark.medium

FINGERPRINT = "ab" * 16
MODEL = {"name": "export", "registered_model": "tiny", "sha256": "c" * 64, "step": 2}
FACTS = {"test_fingerprint": "e" * 64, "bits_per_character": 2.5}


@pytest.fixture
def journal(workspace):
    return Journal(workspace / ".tinyllm" / "journal", FINGERPRINT)


@pytest.fixture
def warnings(caplog, monkeypatch):
    """What the delivery warned of."""
    logger = logging.getLogger("tinyllm.app.tracking.delivery")
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handlers", [caplog.handler])
    return caplog


@pytest.fixture
def picture(workspace):
    (workspace / "curves.png").write_bytes(b"picture")
    return workspace / "curves.png"


@pytest.fixture
def model(workspace):
    (workspace / "model").mkdir()
    (workspace / "model" / "model.safetensors").write_bytes(b"weights")
    return workspace / "model"


LARGE = bytes(range(256)) * 4000


@pytest.fixture
def large(workspace):
    """A file whose copy does not stay, alone in a folder."""
    (workspace / "large").mkdir()
    (workspace / "large" / "model.bin").write_bytes(LARGE)
    return workspace / "large" / "model.bin"


@pytest.fixture
def other_store(workspace, empty_store):
    """The address of a second store, empty."""
    (workspace / "other.db").write_bytes(empty_store.read_bytes())
    return f"sqlite:///{workspace / 'other.db'}"


def add_run(journal, stage="train"):
    journal.add("run", stage=stage, experiment="plays", name="first", params={}, tags={})


def deliver(journal):
    """Deliver as another process would, from what lies on the disk."""
    return Delivery(Journal(journal.path.parent, journal.fingerprint)).deliver()


def only_run():
    client = connect()
    (run,) = client.search_runs([client.get_experiment_by_name("plays").experiment_id])
    return run


def artifact(name):
    return Path(connect().download_artifacts(only_run().info.run_id, name)).read_bytes()


def logged_models():
    return connect().search_logged_models([only_run().info.experiment_id])


def figures(key):
    return [point.value for point in connect().get_metric_history(only_run().info.run_id, key)]


@pytest.fixture
def break_off(monkeypatch):
    """Deliver until a method of the client is called, which fails once."""

    def attempt(journal, method):
        def die(*arguments, **others):
            raise OSError("killed")

        with monkeypatch.context() as patch:
            patch.setattr(mlflow.MlflowClient, method, die)
            with pytest.raises(OSError, match="killed"):
                deliver(journal)

    return attempt


def test_a_copy_whose_event_comes_after_a_delivery_still_arrives(journal, picture):
    add_run(journal)
    copy = journal.files.keep(picture)
    picture.unlink()
    deliver(journal)
    journal.add("artifact", **copy, folder="train")
    deliver(journal)
    assert artifact("train/curves.png") == b"picture"


def test_a_large_copy_is_deleted_when_its_own_event_is_delivered(journal, large, break_off):
    add_run(journal)
    first, second = journal.files.keep(large), journal.files.keep(large)
    large.unlink()
    journal.add("artifact", **first, folder="train")
    journal.add("text", text="between", file="note.txt")
    journal.add("artifact", **second, folder="evaluate")
    break_off(journal, "log_text")
    assert [journal.files.find(copy) is not None for copy in (first, second)] == [False, True]
    deliver(journal)
    assert artifact("evaluate/model.bin") == LARGE
    assert journal.files.find(second) is None


def test_a_second_store_gets_large_files_from_where_they_were_made(
    journal, large, other_store, monkeypatch, warnings
):
    add_run(journal)
    event = {**MODEL, "name": "checkpoint", "metrics": {"v": 1.0}}
    journal.add("artifact", **journal.files.keep(large), folder="train")
    journal.add("checkpoint", **event, **journal.files.keep(large.parent))
    deliver(journal)
    assert list(journal.path.with_suffix(".files").iterdir()) == []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", other_store)
    deliver(journal)
    assert warnings.messages == []
    assert artifact("train/model.bin") == LARGE
    assert len(logged_models()) == 1


def test_a_second_store_goes_without_large_files_that_have_changed(
    journal, large, other_store, monkeypatch, warnings
):
    add_run(journal)
    journal.add("artifact", **journal.files.keep(large), folder="train")
    journal.add("export", **MODEL, **FACTS, **journal.files.keep(large.parent))
    journal.add_metrics(1, {"loss": 1.0})
    journal.add("text", text="as it was", file="note.txt")
    journal.add("status", value="FINISHED")
    deliver(journal)
    large.write_bytes(b"another model")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", other_store)
    deliver(journal)
    names = ("large/model.bin of the run", "large of the run")
    assert len(warnings.messages) == 2
    assert all(text.startswith(name) for text, name in zip(warnings.messages, names, strict=True))
    assert figures("loss") == [1.0]
    assert artifact("note.txt") == b"as it was"
    assert only_run().info.status == "FINISHED"
    assert logged_models() == []
    assert list(connect().search_model_versions("name = 'tiny'")) == []
    assert journal.pending(other_store) == 0


def test_after_a_torn_last_line_the_rest_is_delivered(journal):
    add_run(journal)
    journal.add_metrics(1, {"loss": 1.0})
    with journal.path.open("ab") as file:
        file.write(b'{"kind": "metrics", "time": 17')
    deliver(journal)
    resumed = Journal(journal.path.parent, FINGERPRINT)
    resumed.add_metrics(2, {"loss": 0.5})
    resumed.add("text", text="whole", file="note.txt")
    deliver(journal)
    assert figures("loss") == [1.0, 0.5]
    assert artifact("note.txt") == b"whole"
    assert journal.pending(Delivery(journal).uri) == 0


@pytest.mark.parametrize("method", ["create_model_version", "set_registered_model_alias"])
def test_an_export_that_broke_off_is_delivered_again_as_one_model(
    journal, model, break_off, method
):
    add_run(journal)
    journal.add("export", **MODEL, **FACTS, **journal.files.keep(model))
    break_off(journal, method)
    deliver(journal)
    (logged,) = logged_models()
    (version,) = connect().search_model_versions("name = 'tiny'")
    assert version.source == f"models:/{logged.model_id}"
    assert connect().get_model_version_by_alias("tiny", "champion").version == version.version


def test_an_export_that_comes_a_second_time_makes_no_second_model(journal, model):
    add_run(journal)
    for _ in range(2):
        journal.add("export", **MODEL, **FACTS, **journal.files.keep(model))
        deliver(journal)
        journal.path.with_suffix(".state.json").unlink()
    assert len(logged_models()) == 1
    assert len(connect().search_model_versions("name = 'tiny'")) == 1


@pytest.mark.parametrize("kind", ["checkpoint", "export"])
def test_a_model_whose_upload_broke_off_is_uploaded_anew(journal, model, break_off, kind):
    add_run(journal)
    event = {**MODEL, **FACTS, "name": kind, "metrics": {}}
    journal.add(kind, **event, **journal.files.keep(model))
    break_off(journal, "log_model_artifacts")
    (begun,) = logged_models()
    assert begun.status == "PENDING"
    deliver(journal)
    (whole,) = (logged for logged in logged_models() if logged.model_id != begun.model_id)
    assert whole.status == "READY"
    (output,) = only_run().outputs.model_outputs
    assert output.model_id == whole.model_id
    folder = Path(mlflow.artifacts.download_artifacts(whole.model_uri))
    assert (folder / "model.safetensors").read_bytes() == b"weights"


@pytest.mark.parametrize("second", [0.5, 0.9])
def test_figures_recorded_again_at_their_step_replace_the_old_ones(journal, second):
    add_run(journal)
    for value in (0.75, second):
        journal.add("figures", step=30, values={"test_loss": value, "characters": 100})
        deliver(journal)
    assert only_run().data.metrics == {"test_loss": second, "characters": 100}
    assert figures("test_loss") == [0.75, second]
    assert figures("characters") == [100]


def test_figures_delivered_again_from_the_beginning_are_the_last_ones(journal):
    add_run(journal)
    for value in (0.75, 0.9, 0.5):
        journal.add("figures", step=30, values={"test_loss": value})
        deliver(journal)
    journal.path.with_suffix(".state.json").unlink()
    deliver(journal)
    assert only_run().data.metrics == {"test_loss": 0.5}


@pytest.mark.parametrize(
    ("stage", "status"), [("train", "RUNNING"), ("evaluate", "FINISHED"), ("export", "FINISHED")]
)
def test_a_run_that_another_stage_than_train_creates_is_ended_at_once(journal, stage, status):
    add_run(journal, stage)
    deliver(journal)
    assert only_run().info.status == status


def test_a_run_that_goes_on_is_not_ended_by_another_stage(journal):
    add_run(journal)
    journal.add("status", value="RUNNING")
    add_run(journal, "evaluate")
    deliver(journal)
    assert only_run().info.status == "RUNNING"
