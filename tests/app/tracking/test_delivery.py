"""From the journal to a real store: everything, once, whenever delivery was interrupted."""

from pathlib import Path

import mlflow
import pytest

from tinyllm.app.tracking.delivery import Delivery
from tinyllm.app.tracking.journal import Journal
from tinyllm.app.tracking.store import connect

pytestmark = pytest.mark.medium

FINGERPRINT = "ab" * 16


@pytest.fixture
def journal(workspace):
    return Journal(workspace / ".tinyllm" / "journal", FINGERPRINT)


def add_run(journal, name="first", params=(), tags=()):
    details = {"stage": "train", "experiment": "plays"}
    journal.add("run", **details, name=name, params=dict(params), tags=dict(tags))


def fill(journal, folder):
    """All kinds of events, as the train stage and the later ones write them."""
    (folder / "curves.png").write_bytes(b"picture")
    (folder / "model").mkdir(exist_ok=True)
    (folder / "model" / "model.safetensors").write_bytes(b"weights")
    model = {"sha256": "c" * 64, "step": 2}
    add_run(journal, params={"a": "1"}, tags={"t": "x"})
    journal.add("status", value="RUNNING")
    for step in (1, 2, 3):
        journal.add_metrics(step, {"loss": 1 / step, "norm": 2.0})
    journal.add("dataset", name="train", source="/d/train.bin", digest="d" * 64, context="training")
    journal.add("artifact", **journal.files.keep(folder / "curves.png"), folder="train")
    journal.add("text", text="as it was", file="lineage/note.txt")
    journal.add("figures", step=2, values={"test_loss": 0.75})
    copy = journal.files.keep(folder / "model")
    journal.add("checkpoint", name="checkpoint", **copy, metrics={"val_loss": 0.5}, **model)
    facts = {"test_fingerprint": "e" * 64, "bits_per_character": 2.5}
    copy = journal.files.keep(folder / "model")
    journal.add("export", name="export", registered_model="tiny", **copy, **model, **facts)
    journal.add("status", value="FINISHED")


def deliver(journal):
    """Deliver as another process would, from what lies on the disk."""
    return Delivery(Journal(journal.path.parent, journal.fingerprint)).deliver()


def only_run(client):
    experiment = client.get_experiment_by_name("plays").experiment_id
    (run,) = client.search_runs([experiment])
    return run


def assert_delivered_once(client):
    run = only_run(client)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "first"
    assert run.data.params == {"a": "1"}
    assert run.data.tags["t"] == "x"
    assert run.data.tags["tinyllm.fingerprint"] == FINGERPRINT
    run_id = run.info.run_id
    for key, values in {"loss": [1.0, 1 / 2, 1 / 3], "norm": [2.0, 2.0, 2.0]}.items():
        history = client.get_metric_history(run_id, key)
        assert [(point.step, point.value) for point in history] == list(enumerate(values, start=1))
    (figure,) = client.get_metric_history(run_id, "test_loss")
    assert (figure.step, figure.value) == (2, 0.75)
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("train", "d" * 36)
    assert {item.path for item in client.list_artifacts(run_id)} == {"lineage", "train"}
    places = [client.download_artifacts(run_id, name) for name in ("train", "lineage/note.txt")]
    assert (Path(places[0]) / "curves.png").read_bytes() == b"picture"
    assert Path(places[1]).read_text() == "as it was"
    models = client.search_logged_models([run.info.experiment_id])
    assert sorted(model.name for model in models) == ["checkpoint", "export"]
    assert {model.status for model in models} == {"READY"}
    outputs = {output.model_id for output in run.outputs.model_outputs}
    assert outputs == {model.model_id for model in models}
    (version,) = client.search_model_versions("name = 'tiny'")
    assert client.get_model_version_by_alias("tiny", "champion").version == version.version


@pytest.fixture
def sent(monkeypatch):
    """Sizes of the batches of points that go to the store, which still gets them."""
    sizes = []
    log_batch = mlflow.MlflowClient.log_batch

    def counted(self, run_id, metrics=(), **others):
        if metrics:
            sizes.append(len(metrics))
        return log_batch(self, run_id, metrics=metrics, **others)

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", counted)
    return sizes


def test_everything_arrives(journal, workspace):
    fill(journal, workspace)
    run_id = deliver(journal)
    assert_delivered_once(connect())
    assert only_run(connect()).info.run_id == run_id
    assert journal.pending(Delivery(journal).uri) == 0


def test_a_second_delivery_sends_nothing(journal, workspace, sent):
    fill(journal, workspace)
    first = deliver(journal)
    assert deliver(journal) == first
    assert sent == [6, 1]
    assert_delivered_once(connect())


def test_a_journal_without_events_opens_no_store(journal, workspace, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workspace}/never.db")
    assert deliver(journal) is None
    assert not (workspace / "never.db").exists()


def test_small_copies_stay_after_the_delivery_and_large_ones_go(journal, workspace):
    fill(journal, workspace)
    (workspace / "large").write_bytes(bytes(1_000_001))
    journal.add("artifact", **journal.files.keep(workspace / "large"), folder="train")
    deliver(journal)
    copies = journal.path.with_suffix(".files")
    names = sorted(path.name for path in copies.rglob("*") if path.is_file())
    assert names == ["curves.png", "model.safetensors", "model.safetensors"]
    assert (workspace / "large").exists()


@pytest.mark.parametrize("place", range(11))
def test_a_delivery_that_died_before_it_noted_an_event_is_repeated_without_harm(
    journal, workspace, monkeypatch, place
):
    fill(journal, workspace)
    save_state, saved = Journal.save_state, []

    def die(self, uri, state):
        if len(saved) == place:
            raise OSError("killed")
        saved.append(state)
        save_state(self, uri, state)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "save_state", die)
        if place < 10:
            with pytest.raises(OSError, match="killed"):
                deliver(journal)
        else:
            # run, status, points, data set, artifact, text, figures, checkpoint, export, status
            deliver(journal)
    assert len(saved) == place
    deliver(journal)
    assert_delivered_once(connect())


def test_without_its_state_a_journal_is_delivered_again_into_the_same_run(journal, sent):
    add_run(journal, params={"a": "1"})
    for step in range(50):
        journal.add_metrics(step, {"loss": 1.0, "norm": 2.0})
    first = deliver(journal)
    assert sent == [100]
    journal.path.with_suffix(".state.json").unlink()
    assert deliver(journal) == first
    assert sent == [100]
    journal.path.with_suffix(".state.json").unlink()
    journal.add_metrics(50, {"loss": 1.0, "norm": 2.0})
    assert deliver(journal) == only_run(connect()).info.run_id == first
    assert sent == [100, 2]
    history = connect().get_metric_history(first, "loss")
    assert [point.step for point in history] == list(range(51))


def test_thousands_of_points_arrive_in_batches_that_the_store_takes(journal, sent):
    add_run(journal)
    for step in range(1300):
        journal.add_metrics(step, {"loss": float(step), "norm": 2.0})
    run_id = deliver(journal)
    assert max(sent) <= 1000
    assert sum(sent) == 2600
    history = connect().get_metric_history(run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(n, n) for n in range(1300)]


def test_points_keep_the_time_at_which_they_were_recorded(journal):
    add_run(journal)
    journal.add_metrics(1, {"loss": 1.0})
    (opened, recorded) = (event["time"] for event, _ in journal.events())
    run_id = deliver(journal)
    assert connect().get_metric_history(run_id, "loss")[0].timestamp == recorded
    assert connect().get_run(run_id).info.start_time == opened


def test_every_store_gets_everything(journal, workspace, monkeypatch, empty_store):
    add_run(journal)
    journal.add_metrics(1, {"loss": 1.0})
    other = workspace / "other.db"
    other.write_bytes(empty_store.read_bytes())
    runs = []
    for uri in (f"sqlite:///{workspace}/mlflow.db", f"sqlite:///{other}"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        runs.append(deliver(journal))
        assert only_run(connect()).info.run_id == runs[-1]
        assert len(connect().get_metric_history(runs[-1], "loss")) == 1
    assert runs[0] != runs[1]


def test_later_events_of_the_same_fingerprint_go_to_the_same_run(journal):
    add_run(journal, params={"a": "1"}, tags={"t": "x"})
    first = deliver(journal)
    add_run(journal, name="again", params={"a": "9", "b": "2"})
    journal.add_metrics(1, {"loss": 1.0})
    assert deliver(journal) == first
    run = only_run(connect())
    assert run.data.params == {"a": "1", "b": "2"}
    assert run.data.metrics == {"loss": 1.0}


def test_two_fingerprints_make_two_runs(journal):
    other = Journal(journal.path.parent, "cd" * 16)
    for each in (journal, other):
        add_run(each, name="same")
    assert deliver(journal) != deliver(other)
