"""The library's public names: each can be imported, and used as a notebook would."""

import math
import re
import subprocess
import sys
import tomllib

import pytest
import torch

import tinyllm
from tests.conftest import ROOT, SMALL_MODEL, SMALL_TRAINING
from tinyllm.base.errors import ConfigError
from tinyllm.base.events import StepTaken, Validated


@pytest.mark.parametrize("name", tinyllm.__all__)
def test_a_public_name_exists_and_has_a_docstring(name):
    assert getattr(tinyllm, name).__doc__
    assert getattr(tinyllm, name).__module__.startswith("tinyllm.")


def test_an_unknown_name_is_reported():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = tinyllm.nonsense


def test_the_tokenizer_learns_and_reads_back():
    tokenizer = tinyllm.CharacterTokenizer("to be or not")
    assert tokenizer.decode(tokenizer.encode("not to be")) == "not to be"


def test_the_config_classes_keep_their_values():
    assert tinyllm.ModelConfig(d_model=64, num_heads=2).head_dim == 32
    assert tinyllm.TrainingConfig(max_steps=30).max_steps == 30


def test_type_checkers_see_the_names_that_are_there():
    stub = (ROOT / "tinyllm/__init__.pyi").read_text(encoding="utf-8")
    typed = dict(re.findall(r"^from (\S+) import (\w+) as", stub, re.MULTILINE))
    assert set(re.findall(r"import (\w+) as", stub)) == set(tinyllm.__all__)
    assert set(typed) <= set(tinyllm._PUBLIC.values())
    assert (ROOT / "tinyllm/py.typed").is_file()


def test_the_version_is_that_of_the_package():
    definition = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert tinyllm.__version__ == definition["project"]["version"]


def test_the_transformer_predicts_every_token():
    model = tinyllm.Transformer(SMALL_MODEL, 20).eval()
    assert model(torch.zeros(2, 5, dtype=torch.long)).shape == (2, 5, 20)


def test_a_model_is_trained_and_evaluated(text):
    tokenizer = tinyllm.CharacterTokenizer(text)
    data = tinyllm.TokenData.from_text(text, tokenizer)
    assert len(data.val) == len(text) // 10
    config = SMALL_TRAINING.model_copy(update={"max_steps": 20})
    result = tinyllm.run_training(data, tinyllm.Recipe(SMALL_MODEL, config))
    model = tinyllm.Checkpoint.from_weights(result.weights, SMALL_MODEL, tokenizer)
    _, loader = tinyllm.build_dataloaders(
        data,
        sequence_length=SMALL_MODEL.sequence_length,
        batch_size=8,
        seed=0,
        device=torch.device("cpu"),
    )
    assert tinyllm.evaluate(model.model, loader) == pytest.approx(result.best_val_loss)
    assert tinyllm.generate_text(model, "O, ").startswith("O, ")
    likeliest = [tinyllm.generate_text(model, "O", temperature=0, max_new_tokens=9) for _ in "ab"]
    assert likeliest[0] == likeliest[1]
    assert len(likeliest[0]) == 10
    for wrong in ({"prompt": None}, {"prompt": ["a"]}, {"prompt": "a", "heat": 1}):
        with pytest.raises(ConfigError):
            tinyllm.generate_text(model, **wrong)


def test_a_text_is_read_from_a_file_or_a_folder(tmp_path):
    (tmp_path / "b.txt").write_text("second", encoding="utf-8")
    (tmp_path / "a.txt").write_text("first ", encoding="utf-8")
    assert tinyllm.load_text(tmp_path / "a.txt") == "first "
    assert tinyllm.load_text(str(tmp_path)) == "first second"
    with pytest.raises(tinyllm.TinyLLMError, match="There is no corpus at"):
        tinyllm.load_text(tmp_path / "missing")


def test_a_bar_moves_with_the_steps(capsys):
    with tinyllm.ProgressBar(3) as bar:
        for step in (1, 2, 3):
            bar(StepTaken(step, 1.0, 0.1, 1.0, 10))
        bar(Validated(3, 1.0, math.log(2), 0.1, 1.0, best=True))
    shown = capsys.readouterr().err
    assert "3/3" in shown
    assert "step 3: 1.0000 bits per character on val" in shown


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
        "sys.exit(bool({'dvc', 'mlflow', 'psutil', 'rich', 'scipy'} & sys.modules.keys()))\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_checkpoint_is_written_wherever_a_path_says(checkpoint, tmp_path):
    weights = checkpoint.model.state_dict()
    folder = str(tmp_path / "model")
    tinyllm.save_checkpoint(folder, weights, checkpoint.model.config, checkpoint.tokenizer, {})
    assert tinyllm.load_model(folder).tokenizer.alphabet == checkpoint.tokenizer.alphabet


@pytest.mark.parametrize("fraction", [0, 1, 2, -0.5, math.nan])
def test_a_share_that_is_none_is_refused(fraction):
    tokenizer = tinyllm.CharacterTokenizer("ab")
    with pytest.raises(tinyllm.TinyLLMError, match="must be between 0 and 1"):
        tinyllm.TokenData.from_text("abab", tokenizer, val_fraction=fraction)


def test_names_of_the_registry_are_for_the_command_line():
    with pytest.raises(tinyllm.TinyLLMError, match="only the command line opens names"):
        tinyllm.load_model("models:/tinyllm@champion")
