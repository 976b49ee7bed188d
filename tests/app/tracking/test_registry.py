"""The registry: versions by weights, what they tell of themselves, models that open again."""

import shutil

import pytest

from tests.app.tracking.conftest import PLAY, export
from tinyllm.app.tracking.registry import (
    download_model,
    locate_model,
    log_checkpoint,
    shorten,
)
from tinyllm.base.errors import TinyLLMError
from tinyllm.formats.load import load_model, load_onnx_model
from tinyllm.inference.config import SamplingConfig
from tinyllm.inference.generate import generate_text

pytestmark = pytest.mark.medium


@pytest.fixture
def exported(export_folder):
    return export_folder / "pyfunc"


def record_checkpoint(store, weights, folder=None):
    event = {
        "name": "checkpoint",
        "path": str(folder or store.folder),
        "sha256": weights,
        "time": 1_700_000_000_000,
        "step": 40,
        "metrics": {"best_val_loss": 1.25},
    }
    log_checkpoint(store.client, store.experiment, store.run_id, event)


def versions(store):
    return store.client.search_model_versions("name = 'tinyllm'")


def weights_of(version):
    return version.tags["weights.sha256"]


def logged_models(store):
    return store.client.search_logged_models([store.experiment])


def test_distinct_weights_make_a_version_each(store):
    for weights in ("w1", "w2", "w1", "w1"):
        export(store, weights, 2.0)
    assert {int(version.version): weights_of(version) for version in versions(store)} == {
        1: "w1",
        2: "w2",
    }
    assert len(logged_models(store)) == 2


def test_a_version_tells_where_it_comes_from_and_what_it_is_worth(store):
    export(store, "w1", 2.125)
    (version,) = versions(store)
    assert version.run_id == store.run_id
    assert (
        version.tags.items()
        >= {
            "weights.sha256": "w1",
            "test.fingerprint": PLAY,
            "test.bits_per_character": "2.125",
        }.items()
    )


def test_what_an_export_says_of_itself_is_in_the_version_and_is_brought_up_to_date(store):
    export(store, "w1", 2.0, tags={"git.commit": "c1", "data.train": "d1"}, description="# A card")
    (version,) = versions(store)
    assert version.tags.items() >= {"git.commit": "c1", "data.train": "d1"}.items()
    assert version.description == "# A card"
    export(store, "w1", 2.0, tags={"git.commit": "c2"}, description="# A new card")
    (version,) = versions(store)
    assert (version.tags["git.commit"], version.description) == ("c2", "# A new card")
    assert "champion" in store.client.get_registered_model("tinyllm").description


def test_a_card_that_is_too_long_loses_its_last_sections():
    card = "# Title\n\n" + "".join(f"\n## Part {n}\n\n{'x' * 80}\n" for n in range(9))
    assert shorten(card, 5000) == card
    short = shorten(card, 500)
    assert len(short) <= 500
    assert "## Part 0" in short
    assert "## Part 8" not in short
    assert "README.md" in short
    assert len(shorten("y" * 900, 500)) <= 500


@pytest.mark.parametrize("uri", ["models:/tinyllm@champion", "models:/tinyllm/1"])
def test_a_registered_model_opens_and_generates(store, exported, checkpoint, tmp_path, uri):
    # the folder that the stage wrote may be gone by then
    shutil.copytree(exported, tmp_path / "gone")
    export(store, "w1", 2.0, folder=tmp_path / "gone")
    shutil.rmtree(tmp_path / "gone")
    sampling = SamplingConfig(max_new_tokens=15)
    wanted = generate_text(checkpoint, "What", sampling)
    for load in (load_model, load_onnx_model):
        assert generate_text(load(locate_model(uri)), "What", sampling) == wanted


def test_a_folder_opens_without_the_registry(workspace, checkpoint_folder, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert load_model(checkpoint_folder).training["fingerprint"] == "f" * 32


@pytest.mark.parametrize(
    "uri",
    [
        "models:/tinyllm@nobody",
        "models:/tinyllm/7",
        "models:/unheard-of@champion",
        "models:/m-00000000000000000000000000000000",
        "models:/",
        "runs:/0123456789abcdef0123456789abcdef/model",
    ],
)
def test_a_model_that_is_not_there_costs_one_line_that_names_it(store, uri):
    export(store, "w1", 2.0)
    with pytest.raises(TinyLLMError) as error:
        load_model(locate_model(uri))
    message = str(error.value)
    assert message.startswith(f"Cannot open {uri}: ")
    assert message.endswith(".")
    assert "\n" not in message


def test_a_registry_that_does_not_answer_costs_one_line(workspace, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TinyLLMError, match=r"^Cannot open models:/tinyllm@champion: ") as error:
        download_model("models:/tinyllm@champion")
    assert "\n" not in str(error.value)


def test_a_checkpoint_is_a_logged_model_of_its_run_with_step_and_metric(store, checkpoint_folder):
    record_checkpoint(store, "w1", checkpoint_folder)
    (model,) = logged_models(store)
    assert model.name == "checkpoint"
    assert model.source_run_id == store.run_id
    assert model.status == "READY"
    assert model.params == {"step": "40"}
    assert model.tags["weights.sha256"] == "w1"
    (metric,) = model.metrics
    assert (metric.key, metric.value, metric.step) == ("best_val_loss", 1.25, 40)
    (output,) = store.client.get_run(store.run_id).outputs.model_outputs
    assert (output.model_id, output.step) == (model.model_id, 40)


def test_a_logged_checkpoint_opens_again(store, checkpoint_folder):
    record_checkpoint(store, "w1", checkpoint_folder)
    (model,) = logged_models(store)
    assert load_model(locate_model(model.model_uri)).training["fingerprint"] == "f" * 32


def test_a_checkpoint_is_logged_once_for_the_same_weights(store):
    for weights in ("w1", "w1", "w2"):
        record_checkpoint(store, weights)
    assert len(logged_models(store)) == 2


def test_a_checkpoint_whose_upload_broke_off_is_logged_anew(store, checkpoint_folder):
    tags = {"weights.sha256": "w1"}
    begun = store.client.create_logged_model(store.experiment, name="checkpoint", tags=tags)
    assert begun.status == "PENDING"
    record_checkpoint(store, "w1", checkpoint_folder)
    (whole,) = (m for m in logged_models(store) if m.model_id != begun.model_id)
    assert whole.status == "READY"
    assert load_model(locate_model(whole.model_uri)).training["fingerprint"] == "f" * 32
    record_checkpoint(store, "w1", checkpoint_folder)
    assert len(logged_models(store)) == 2


def test_a_checkpoint_of_the_same_weights_does_not_stand_in_for_an_export(store):
    record_checkpoint(store, "w1")
    export(store, "w1", 2.0)
    assert sorted(model.name for model in logged_models(store)) == ["checkpoint", "export"]
