"""Opening a model from every folder that the pipeline writes, and from damaged ones."""

import json
import shutil

import pytest
import torch

from tinyllm.base.errors import TinyLLMError
from tinyllm.formats.load import load_model

pytestmark = pytest.mark.medium

FORMS = ["huggingface", "pyfunc", "pyfunc/artifacts/huggingface", "."]


def assert_one_sentence(error):
    message = str(error.value)
    assert "\n" not in message
    assert message.endswith(".")


@pytest.mark.parametrize("form", FORMS)
def test_an_export_gives_the_logits_of_its_checkpoint_to_the_bit(
    checkpoint, export_folder, arithmetic, form
):
    loaded = load_model(export_folder / form, arithmetic)
    tokens = torch.randint(
        checkpoint.tokenizer.vocab_size, (3, 32), generator=torch.Generator().manual_seed(0)
    )
    with torch.no_grad():
        assert torch.equal(loaded.model(tokens), checkpoint.model(tokens))
    assert loaded.tokenizer.alphabet == checkpoint.tokenizer.alphabet
    assert not loaded.model.training


def test_a_checkpoint_folder_opens_by_its_name_as_text(checkpoint, checkpoint_folder):
    loaded = load_model(str(checkpoint_folder))
    for name, tensor in checkpoint.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], tensor)
    assert loaded.training["fingerprint"] == "f" * 32


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(TinyLLMError, match="nowhere") as error:
        load_model(tmp_path / "nowhere")
    assert_one_sentence(error)


def test_a_file_is_not_a_folder(tmp_path):
    (tmp_path / "model").write_text("weights")
    with pytest.raises(TinyLLMError, match="no model") as error:
        load_model(tmp_path / "model")
    assert_one_sentence(error)


def test_an_empty_folder_holds_no_model(tmp_path):
    with pytest.raises(TinyLLMError, match="holds no model") as error:
        load_model(tmp_path)
    assert_one_sentence(error)


@pytest.mark.parametrize("form", ["checkpoint", "huggingface"])
@pytest.mark.parametrize(
    ("file", "contents"),
    [
        ("model.safetensors", None),
        ("model.safetensors", b""),
        ("model.safetensors", b"\xff" * 500),
        ("tokenizer.json", None),
        ("tokenizer.json", b""),
        ("tokenizer.json", b"[]"),
        ("tokenizer.json", b'{"model": 5}'),
        ("config.json", None),
        ("config.json", b""),
        ("config.json", b'{"model_type": "qwen3"}'),
        ("config.json", b'{"model_type": "bert"}'),
        ("config.json", b"\xff\xfe\x00"),
        ("config.json", b"[]"),
        ("config.json", b"null"),
        ("config.json", b"5"),
    ],
)
def test_a_damaged_file_is_named_in_one_sentence(
    checkpoint_folder, export_folder, tmp_path, form, file, contents
):
    source = checkpoint_folder if form == "checkpoint" else export_folder / form
    shutil.copytree(source, tmp_path / "model")
    if contents is None:
        (tmp_path / "model" / file).unlink()
    else:
        (tmp_path / "model" / file).write_bytes(contents)
    with pytest.raises(TinyLLMError) as error:
        load_model(tmp_path / "model")
    assert_one_sentence(error)
    assert str(tmp_path / "model") in str(error.value)


@pytest.mark.parametrize("form", ["checkpoint", "huggingface"])
@pytest.mark.parametrize("missing", [1, 100, 4000])
def test_a_truncated_weights_file_is_refused(
    checkpoint_folder, export_folder, tmp_path, form, missing
):
    source = checkpoint_folder if form == "checkpoint" else export_folder / form
    shutil.copytree(source, tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-missing])
    with pytest.raises(TinyLLMError, match=r"model\.safetensors") as error:
        load_model(tmp_path / "model")
    assert_one_sentence(error)


def test_weights_of_another_shape_are_refused(checkpoint_folder, tmp_path):
    shutil.copytree(checkpoint_folder, tmp_path / "model")
    description = json.loads((tmp_path / "model/config.json").read_text())
    description["model"]["d_ff"] = 96
    (tmp_path / "model/config.json").write_text(json.dumps(description))
    with pytest.raises(TinyLLMError, match="do not fit") as error:
        load_model(tmp_path / "model")
    assert_one_sentence(error)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rope_theta", -1),
        ("rope_theta", None),
        ("vocab_size", "x"),
        ("vocab_size", -1),
        ("vocab_size", 5),
        ("num_hidden_layers", 1),
        ("num_hidden_layers", 3),
        ("num_hidden_layers", "x"),
        ("num_attention_heads", 0),
        ("intermediate_size", 96),
        ("tie_word_embeddings", "perhaps"),
    ],
)
def test_a_huggingface_description_that_does_not_fit_is_refused(
    export_folder, tmp_path, key, value
):
    shutil.copytree(export_folder / "huggingface", tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    description = json.loads(path.read_text())
    assert description[key] != value
    path.write_text(json.dumps({**description, key: value}))
    with pytest.raises(TinyLLMError, match=r"not one that this program wrote|do not fit") as error:
        load_model(tmp_path / "model")
    assert_one_sentence(error)
    assert str(tmp_path / "model") in str(error.value)


@pytest.mark.parametrize(
    ("key", "value"), [("rope_theta", -1), ("num_layers", 1), ("num_heads", "x"), ("d_ff", None)]
)
def test_a_checkpoint_description_that_does_not_fit_is_refused(
    checkpoint_folder, tmp_path, key, value
):
    shutil.copytree(checkpoint_folder, tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    description = json.loads(path.read_text())
    description["model"][key] = value
    path.write_text(json.dumps(description))
    with pytest.raises(TinyLLMError) as error:
        load_model(tmp_path / "model")
    assert_one_sentence(error)
    assert str(tmp_path / "model") in str(error.value)


@pytest.mark.parametrize("value", ["x", -1, 5, None])
def test_a_checkpoint_of_another_vocabulary_size_is_refused(checkpoint_folder, tmp_path, value):
    shutil.copytree(checkpoint_folder, tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "vocab_size": value}))
    with pytest.raises(TinyLLMError, match=r"does not fit|vocab_size") as error:
        load_model(tmp_path / "model")
    assert_one_sentence(error)
