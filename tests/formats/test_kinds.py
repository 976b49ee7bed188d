"""Bytes and byte pairs in every export: verified, and exact round trips by each program."""

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.formats.test_gguf import fields
from tests.playground import random_checkpoint
from tests.tokenizers import DIFFICULT, learned
from tinyllm.base.errors import TinyLLMError
from tinyllm.formats.config import ExportConfig
from tinyllm.formats.exporters import Source
from tinyllm.formats.gguf_reader import verify_gguf
from tinyllm.formats.load import load_model, load_onnx_model
from tinyllm.formats.run import export_checkpoint
from tinyllm.formats.tokenizer_json import huggingface_tokenizer, tokenizer_from_huggingface
from tinyllm.inference.config import SamplingConfig
from tinyllm.inference.generate import generate_text
from tinyllm.tokens.byte_level import PRINTABLE
from tinyllm.tokens.byte_pairs import BytePairTokenizer

pytestmark = pytest.mark.medium

KINDS = ("byte", "bpe")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def model(kind):
    return random_checkpoint(learned(kind), d_model=32, num_heads=1, d_ff=32, sequence_length=48)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """The model in every format; each float32 export has been found to agree."""
    folder = tmp_path_factory.mktemp("kinds") / "export"
    passage = model.tokenizer.encode("What news, my lord? \u00e9\u6f22\n" * 9).tolist()
    export_checkpoint(ExportConfig(gguf_precisions=["f32"]), Source(model, passage), folder)
    return folder


@pytest.fixture(scope="module")
def theirs(folder):
    """The tokenizer as transformers opens it."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder / "huggingface", local_files_only=True)


@given(text=TEXTS | st.sampled_from(DIFFICULT))
def test_transformers_has_the_same_tokens_and_gives_the_text_back(theirs, model, text):
    tokens = model.tokenizer.encode(text).tolist()
    assert theirs(text)["input_ids"] == tokens
    assert theirs.decode(tokens) == text


def test_transformers_decodes_whatever_is_written(theirs, model):
    for first in range(0, model.tokenizer.vocab_size - 9, 7):
        # 255 is the special token
        tokens = [token for token in (first, first + 9, first + 3) if token != 255]
        assert theirs.decode(tokens) == model.tokenizer.decode(tokens)


def test_transformers_pads_prompts_of_unlike_lengths(theirs, folder, model):
    from transformers import AutoModelForCausalLM

    opened = AutoModelForCausalLM.from_pretrained(folder / "huggingface")
    prompts = ["The", "What news, my lord?"]
    rows = theirs(prompts, padding=True, return_tensors="pt")
    written = opened.generate(**rows, do_sample=False, max_new_tokens=20)
    texts = theirs.batch_decode(written, skip_special_tokens=True)
    sampling = SamplingConfig(temperature=0, max_new_tokens=20)
    assert texts == [generate_text(model, prompt, sampling) for prompt in prompts]


def test_the_same_tokenizer_is_in_every_folder(folder, model):
    assert load_model(folder).tokenizer == model.tokenizer
    assert load_onnx_model(folder).tokenizer == model.tokenizer
    assert load_model(folder / "pyfunc").tokenizer == model.tokenizer


def test_every_runtime_writes_what_the_model_writes(folder, model):
    sampling = SamplingConfig(temperature=0, max_new_tokens=60)
    for prompt in ("The", "\u6f22\u5b57 \U0001f600", ""):
        expected = generate_text(model, prompt, sampling)
        assert generate_text(load_model(folder), prompt, sampling) == expected
        assert generate_text(load_onnx_model(folder), prompt, sampling) == expected


def test_the_served_model_reads_and_writes_text(folder, model):
    import mlflow.pyfunc

    served = mlflow.pyfunc.load_model(str(folder / "pyfunc"))
    prompts = ["The ", "\u6f22 we've"]
    answer = served.predict({"prompt": prompts}, params={"temperature": 0.0, "max_new_tokens": 30})
    sampling = SamplingConfig(temperature=0, max_new_tokens=30)
    assert answer["text"].tolist() == [generate_text(model, one, sampling) for one in prompts]


def test_only_what_needs_the_library_asks_for_it(folder, kind):
    needed = (folder / "pyfunc/requirements.txt").read_text()
    assert ("tokenizers==" in needed) == (kind == "bpe")


def test_no_program_is_told_of_a_token_that_stands_for_unknown_characters(folder):
    for name in ("tokenizer_config.json", "generation_config.json"):
        described = json.loads((folder / "huggingface" / name).read_text())
        assert not {"unk_token", "suppress_tokens"} & described.keys()


def test_gguf_names_tokens_merges_and_pattern_as_gpt2_does(folder, model):
    entries = fields(folder / "gguf/model-f32.gguf")
    assert entries["tokenizer.ggml.model"] == "gpt2"
    assert entries["tokenizer.ggml.pre"] == "gpt-2"
    assert len(entries["tokenizer.ggml.tokens"]) == model.tokenizer.vocab_size
    assert entries["tokenizer.ggml.tokens"][ord("A")] == "A"
    assert entries["tokenizer.ggml.tokens"][ord(" ")] == "\u0120"
    merges = [" ".join(pair) for pair in model.tokenizer.spelled_merges()]
    # no text holds this byte, and no list may be empty
    assert entries["tokenizer.ggml.merges"] == (merges or ["\u00c0 \u00c0"])


def test_gguf_with_other_merges_is_refused(folder, model, kind):
    if kind == "byte":
        pytest.skip("there are no merges")
    merges = model.tokenizer.spelled_merges()
    known = {first + second for first, second in merges}
    again = next(
        pair
        for token in sorted(known)
        for pair in ((token[:1], token[1:]), (token[:-1], token[-1:]))
        if pair not in merges and {*pair} <= known | {*PRINTABLE}
    )
    # the same tokens, of which one can be made in another way
    other = replace(model, tokenizer=BytePairTokenizer([*merges, again]))
    assert other.tokenizer.token_bytes == model.tokenizer.token_bytes
    passage = torch.zeros(1, 4, dtype=torch.long)
    verify_gguf(model, folder / "gguf/model-f32.gguf", "f32", passage)
    with pytest.raises(TinyLLMError, match="other tokens"):
        verify_gguf(other, folder / "gguf/model-f32.gguf", "f32", passage)


def test_the_card_says_what_the_tokens_are(folder, kind):
    card = (folder / "README.md").read_text(encoding="utf-8")
    level = {"byte": "byte-level", "bpe": "subword"}[kind]
    assert card.startswith(f"# A {level} language model\n")
    assert "48 bytes at a time" in card if kind == "byte" else "48 tokens at a time" in card
    assert "It reads every text." in card
    assert "character" not in card.split("## How to run it")[0]


@pytest.mark.parametrize(
    "change",
    [
        {"merges": [["a", "zz"]]},
        {"merges": [["a", "b"], ["a", "b"]]},
        {"merges": [["a"]]},
        {"merges": None},
        {"vocab": {"a": 0}},
        {"type": "Unigram"},
        {"byte_fallback": True},
    ],
    ids=str,
)
def test_a_changed_tokenizer_is_refused(tmp_path, change):
    described = huggingface_tokenizer(learned("bpe"))
    described["model"] |= change
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(TinyLLMError, match="is not a tokenizer that this program wrote"):
        tokenizer_from_huggingface(path)
