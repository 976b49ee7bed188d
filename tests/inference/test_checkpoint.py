"""The checkpoint: exact, reproducible, and clear about what is wrong with it."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from tinyllm.base.errors import ConfigError, TinyLLMError
from tinyllm.inference.checkpoint import load_checkpoint
from tinyllm.kernels.arithmetic import default_arithmetic
from tinyllm.kernels.fused import FusedTransformer, build_model
from tinyllm.model.checkpoint import read_tensors, save_checkpoint
from tinyllm.model.config import ModelConfig
from tinyllm.model.initialization import init_weights
from tinyllm.model.transformer import Transformer
from tinyllm.tokens.characters import CharacterTokenizer

CONFIG = ModelConfig(d_model=8, num_heads=2, num_layers=1, d_ff=12, sequence_length=6, dropout=0.3)
TIED = CONFIG.model_copy(update={"tie_embeddings": True})
TOKENIZER = CharacterTokenizer("abc \nü")
FACTS = {"fingerprint": "f" * 32, "step": 7, "val_loss": 1.25}


def weights_of(config, seed=0):
    model = Transformer(config, TOKENIZER.vocab_size)
    init_weights(model, torch.Generator().manual_seed(seed))
    return model.state_dict()


@pytest.fixture
def folder(tmp_path):
    save_checkpoint(tmp_path / "checkpoint", weights_of(CONFIG), CONFIG, TOKENIZER, FACTS)
    return tmp_path / "checkpoint"


def fault_of(folder):
    with pytest.raises(TinyLLMError) as caught:
        load_checkpoint(folder)
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    assert ". " not in message
    return message


@pytest.mark.parametrize("config", [CONFIG, TIED])
def test_round_trip_changes_no_bit(config, tmp_path):
    weights = weights_of(config)
    save_checkpoint(tmp_path / "out", weights, config, TOKENIZER, FACTS)
    loaded = load_checkpoint(tmp_path / "out")
    state = loaded.model.state_dict()
    assert set(state) == set(weights)
    assert all(torch.equal(state[name], weights[name]) for name in weights)
    assert loaded.model.config == config
    assert loaded.tokenizer.alphabet == TOKENIZER.alphabet
    assert loaded.training == FACTS


def test_loaded_model_computes_without_dropout(folder):
    assert not load_checkpoint(folder).model.training


def test_loaded_model_computes_the_same(tmp_path):
    model = build_model(CONFIG, TOKENIZER.vocab_size, default_arithmetic()).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.5, 0.2, generator=torch.Generator().manual_seed(3))
    save_checkpoint(tmp_path / "out", model.state_dict(), CONFIG, TOKENIZER, FACTS)
    tokens = torch.tensor([[1, 2, 3, 4, 5, 6]])
    assert torch.equal(load_checkpoint(tmp_path / "out").model(tokens), model(tokens))


def test_the_model_computes_in_the_given_arithmetic(folder, arithmetic):
    model = load_checkpoint(folder, arithmetic).model
    assert type(model) is FusedTransformer
    assert model.arithmetic is arithmetic
    assert not load_checkpoint(folder).model.arithmetic.portable
    elsewhere = replace(arithmetic, device=torch.device("meta"), portable=False)
    assert type(load_checkpoint(folder, elsewhere).model) is Transformer


def test_two_saves_give_identical_bytes(folder, tmp_path):
    backwards = dict(reversed(weights_of(CONFIG).items()))
    save_checkpoint(tmp_path / "again", backwards, CONFIG, TOKENIZER, FACTS)
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["config.json", "model.safetensors", "tokenizer.json"]
    for name in names:
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_other_weights_give_other_bytes(folder, tmp_path):
    save_checkpoint(tmp_path / "other", weights_of(CONFIG, seed=1), CONFIG, TOKENIZER, FACTS)
    first, second = (path / "model.safetensors" for path in (folder, tmp_path / "other"))
    assert first.read_bytes() != second.read_bytes()


def test_saving_replaces_the_whole_folder(folder):
    before = (folder / "tokenizer.json").read_bytes()
    (folder / "tokenizer.json").write_text("stale", encoding="utf-8")
    save_checkpoint(folder, weights_of(CONFIG), CONFIG, TOKENIZER, FACTS)
    assert (folder / "tokenizer.json").read_bytes() == before
    assert [path.name for path in folder.parent.iterdir()] == ["checkpoint"]


def test_saving_refuses_a_folder_with_files_of_others(folder):
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"holds 'notes\.txt'"):
        save_checkpoint(folder, weights_of(CONFIG), CONFIG, TOKENIZER, FACTS)
    assert (folder / "notes.txt").read_text(encoding="utf-8") == "mine"


def test_parameters_that_require_gradients_can_be_saved(tmp_path):
    model = Transformer(CONFIG, TOKENIZER.vocab_size)
    init_weights(model, torch.Generator().manual_seed(0))
    save_checkpoint(tmp_path / "out", dict(model.named_parameters()), CONFIG, TOKENIZER, FACTS)
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_missing_folder_is_reported(tmp_path):
    message = fault_of(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in message
    assert "run the train stage" in message


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_missing_file_is_named(folder, name):
    (folder / name).unlink()
    assert name in fault_of(folder)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.99])
def test_truncated_weights_are_reported(folder, share):
    weights = folder / "model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[: int(len(data) * share)])
    assert f"Cannot read the weights in {weights}: " in fault_of(folder)


def test_weights_that_are_not_safetensors_are_reported(folder):
    (folder / "model.safetensors").write_bytes(b"once upon a time" * 100)
    assert "Cannot read the weights" in fault_of(folder)


@pytest.mark.parametrize("content", [{}, [], "text", 3, None, {"format": "other-1"}])
def test_foreign_config_is_reported(folder, content):
    (folder / "config.json").write_text(json.dumps(content), encoding="utf-8")
    assert "config.json was not written by this program" in fault_of(folder)


def test_config_that_is_not_json_is_reported(folder):
    (folder / "config.json").write_text('{"format": ', encoding="utf-8")
    assert "config.json is damaged: it is not JSON" in fault_of(folder)


def test_config_with_an_impossible_shape_is_reported(folder):
    description = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    description["model"]["num_heads"] = 3
    (folder / "config.json").write_text(json.dumps(description), encoding="utf-8")
    message = fault_of(folder)
    assert "num_heads (3) must divide d_model (8)" in message
    assert "config.json" in message


@pytest.mark.parametrize("content", [[], {"format": "other-1"}])
def test_foreign_tokenizer_is_reported(folder, content):
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    assert "tokenizer.json was not written by this program" in fault_of(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.pop("norm.weight"),
        lambda tensors: tensors.update({"more.weight": torch.zeros(2)}),
        lambda tensors: tensors.update({"norm.weight": torch.ones(9)}),
        lambda tensors: tensors.clear(),
    ],
    ids=["one missing", "one too many", "another shape", "none"],
)
def test_tensors_that_do_not_fit_are_reported(folder, change):
    tensors = read_tensors(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    assert "do not fit the config.json" in fault_of(folder)
