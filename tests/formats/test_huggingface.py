"""The Hugging Face format: transformers opens it without our code and agrees with the model."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tinyllm.formats.config import ExportConfig
from tinyllm.formats.huggingface import write_description, write_weights
from tinyllm.formats.run import export_checkpoint
from tinyllm.inference.checkpoint import load_checkpoint
from tinyllm.inference.config import SamplingConfig
from tinyllm.inference.generate import generate_text
from tinyllm.tokens.characters import UNKNOWN_ID

pytestmark = pytest.mark.medium

LOCAL = {"trust_remote_code": False, "local_files_only": True}
TEXTS = [
    "What news, my lord?",
    "\n",
    "DUKE ORSMUND:\n\n\nI am come.\n",
    "a  b   c    d\n  e",
    "   ",
    " What news , my lord ' s ?",
    "do n't , ca n't .",
]


@pytest.fixture(scope="module")
def folder(checkpoint_folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "huggingface"
    path.mkdir()
    write_description(load_checkpoint(checkpoint_folder), path)
    write_weights(load_checkpoint(checkpoint_folder), path)
    return path


@pytest.fixture(scope="module")
def model(folder):
    return AutoModelForCausalLM.from_pretrained(folder, **LOCAL).eval()


@pytest.fixture(scope="module")
def tokenizer(folder):
    return AutoTokenizer.from_pretrained(folder, **LOCAL)


def contents(folder):
    """Every file below a folder by its relative path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_folder_holds_what_transformers_needs_and_nothing_else(folder):
    assert sorted(contents(folder)) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_no_code_of_ours_is_needed(folder, model):
    assert type(model).__module__.startswith("transformers.")
    assert type(model).__name__ == "Qwen3ForCausalLM"
    assert "auto_map" not in json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize("length", [1, 2, 31, 32])
def test_logits_agree_with_ours(model, checkpoint, length):
    tokens = torch.randint(
        checkpoint.tokenizer.vocab_size,
        (4, length),
        generator=torch.Generator().manual_seed(length),
    )
    with torch.no_grad():
        ours, theirs = checkpoint.model(tokens), model(tokens).logits
    assert theirs.shape == ours.shape
    assert (theirs - ours).abs().max() < 1e-5


def test_both_have_the_same_number_of_weights(model, checkpoint):
    assert model.num_parameters() == checkpoint.model.num_parameters()


@pytest.mark.parametrize("count", [25, 200])
def test_greedy_generation_agrees_with_ours_also_beyond_the_window(
    model, tokenizer, checkpoint, count
):
    prompt = tokenizer("What", return_tensors="pt")
    with torch.no_grad():
        written = model.generate(**prompt, do_sample=False, max_new_tokens=count)[0]
    sampling = SamplingConfig(temperature=0, max_new_tokens=count)
    assert tokenizer.decode(written) == generate_text(checkpoint, "What", sampling)


@pytest.mark.parametrize("line", TEXTS)
def test_a_line_survives_the_round_trip_exactly(tokenizer, checkpoint, line):
    tokens = tokenizer(line).input_ids
    assert tokens == checkpoint.tokenizer.encode(line).tolist()
    assert tokenizer.decode(tokens) == line


def test_the_sample_text_survives_the_round_trip_exactly(tokenizer, checkpoint, text):
    tokens = tokenizer(text[:3000]).input_ids
    assert tokens == checkpoint.tokenizer.encode(text[:3000]).tolist()
    assert tokenizer.decode(tokens) == text[:3000]


@pytest.mark.parametrize("character", ["\N{SNOWMAN}", "\N{PILE OF POO}", "\t", "\r"])
def test_an_unknown_character_becomes_token_zero(tokenizer, character):
    tokens = tokenizer(f"a{character}b{character}").input_ids
    assert tokens[1] == tokens[3] == UNKNOWN_ID
    assert UNKNOWN_ID not in (tokens[0], tokens[2])
    assert len(tokens) == 4


def test_the_literal_name_of_the_unknown_token_is_plain_text(tokenizer, checkpoint):
    tokens = tokenizer("a<unk>b").input_ids
    assert len(tokens) == 7
    assert tokens == checkpoint.tokenizer.encode("a<unk>b").tolist()


def test_texts_of_different_lengths_are_written_together_as_alone(model, tokenizer):
    prompts = ["What", "What news, my lord?", "O"]
    assert tokenizer.padding_side == "left"
    together = model.generate(
        **tokenizer(prompts, padding=True, return_tensors="pt"), do_sample=False, max_new_tokens=60
    )
    alone = [
        model.generate(**tokenizer(prompt, return_tensors="pt"), do_sample=False, max_new_tokens=60)
        for prompt in prompts
    ]
    expected = [tokenizer.decode(text[0]) for text in alone]
    assert tokenizer.batch_decode(together, skip_special_tokens=True) == expected


def test_the_unknown_token_is_never_written(model, tokenizer):
    torch.manual_seed(0)
    prompts = tokenizer(["O"] * 50, return_tensors="pt")
    written = model.generate(**prompts, do_sample=True, temperature=50.0, max_new_tokens=20)
    assert (written != UNKNOWN_ID).all()
    assert written.shape == (50, 21)


def test_a_text_begins_with_nothing(model, tokenizer):
    torch.manual_seed(0)
    assert len(tokenizer.decode(model.generate(max_new_tokens=20)[0][1:])) == 20


def test_every_token_has_one_character(tokenizer, checkpoint):
    assert len(tokenizer) == checkpoint.tokenizer.vocab_size
    for token, character in enumerate(checkpoint.tokenizer.alphabet, start=1):
        assert tokenizer.decode([token]) == character


def test_an_export_replaces_the_one_before(export_source, folder, tmp_path):
    (tmp_path / "export" / "gguf").mkdir(parents=True)
    (tmp_path / "export" / "gguf" / "model-f16.gguf").write_bytes(b"GGUF")
    (tmp_path / "export" / "README.md").write_text("# A character-level language model\n")
    export_checkpoint(ExportConfig(formats=["huggingface"]), export_source, tmp_path / "export")
    assert sorted(path.name for path in (tmp_path / "export").iterdir()) == [
        "README.md",
        "huggingface",
        "parity.json",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
    exported = contents(tmp_path / "export" / "huggingface")
    assert exported.pop("README.md")
    assert exported == contents(folder)
