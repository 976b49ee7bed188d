"""The library's public names: each can be imported, and used as a notebook would."""

import subprocess
import sys

import numpy as np
import pytest
import torch

import tinyllm
from tests.conftest import SMALL_MODEL, SMALL_TRAINING


@pytest.mark.parametrize("name", tinyllm.__all__)
def test_a_public_name_is_there_and_explained(name):
    assert getattr(tinyllm, name).__doc__
    assert getattr(tinyllm, name).__module__.startswith("tinyllm.")


def test_an_unknown_name_is_told():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = tinyllm.nonsense


def test_the_tokenizer_learns_and_reads_back():
    tokenizer = tinyllm.CharacterTokenizer().fit("to be or not")
    assert tokenizer.decode(tokenizer.encode("not to be")) == "not to be"


def test_the_configurations_hold_what_they_are_given():
    assert tinyllm.ModelConfig(d_model=64, num_heads=2).head_dim == 32
    assert tinyllm.TrainingConfig(max_steps=30).max_steps == 30


def test_the_transformer_predicts_every_character():
    model = tinyllm.Transformer(SMALL_MODEL, 20)
    model.init_weights(torch.Generator().manual_seed(1))
    assert model.eval()(torch.zeros(2, 5, dtype=torch.long)).shape == (2, 5, 20)


def test_a_model_is_trained_and_evaluated(text, arithmetic):
    from tinyllm.tokens.windows import build_dataloaders

    tokenizer = tinyllm.CharacterTokenizer().fit(text)
    tokens = tokenizer.encode(text)
    train, val = np.split(tokens, [len(tokens) * 9 // 10])
    config = SMALL_TRAINING.model_copy(update={"max_steps": 20})
    result = tinyllm.run_training(train, val, tokenizer.vocab_size, SMALL_MODEL, config, arithmetic)
    model = tinyllm.Transformer(SMALL_MODEL, tokenizer.vocab_size)
    model.load_state_dict(result.weights)
    _, loader = build_dataloaders(
        train,
        val,
        sequence_length=SMALL_MODEL.sequence_length,
        batch_size=8,
        seed=0,
        device=arithmetic.device,
    )
    assert tinyllm.evaluate(model, loader, arithmetic) == pytest.approx(result.best_val_loss)


def test_a_model_is_loaded_and_writes(checkpoint_folder):
    model = tinyllm.load_model(checkpoint_folder)
    text = tinyllm.generate_text(model, "O, my ")
    assert text.startswith("O, my ")
    assert len(text) == 406


def test_the_library_needs_neither_dvc_nor_mlflow(checkpoint_folder):
    program = (
        "import sys, tinyllm\n"
        "for name in tinyllm.__all__: getattr(tinyllm, name)\n"
        f"tinyllm.generate_text(tinyllm.load_model({str(checkpoint_folder)!r}), 'O, ')\n"
        "sys.exit(bool({'dvc', 'mlflow'} & sys.modules.keys()))\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
