"""The real llama.cpp reads and writes bytes and byte pairs as we do."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.formats.test_gguf import drawn
from tests.tokenizers import DIFFICULT, learned
from tinyllm.formats.config import ExportConfig
from tinyllm.formats.gguf import write_gguf
from tinyllm.formats.llama import LlamaRuntime

pytest.importorskip("llama_cpp")


@pytest.fixture(scope="module", params=["byte", "bpe"])
def model(request):
    return drawn(learned(request.param))


@pytest.fixture(scope="module")
def runtime(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    write_gguf(model, folder, ExportConfig(gguf_precisions=["f32"]))
    return LlamaRuntime(folder / "model-f32.gguf")


@given(text=st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(DIFFICULT))
def test_a_text_becomes_the_tokens_of_our_tokenizer(runtime, model, text):
    assert runtime.tokenize(text) == model.tokenizer.encode(text).tolist()


def test_every_character_splits_words_as_ours(runtime, model):
    points = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    random.Random(2).shuffle(points)
    text = "".join(f"e{chr(code)} the" for code in points[:20_000])
    assert runtime.tokenize(text) == model.tokenizer.encode(text).tolist()


def test_every_token_is_written_as_its_bytes(runtime, model):
    for token, data in enumerate(model.tokenizer.token_bytes):
        # the byte that no text has is the token that ends one
        assert runtime._llama.detokenize([token]) == (b"" if token == 255 else data)


def test_logits_agree_with_ours(runtime, model):
    tokens = model.tokenizer.encode("What news, my lord? \u00e9\u6f22").tolist()
    with torch.no_grad():
        ours = model.model(torch.tensor([tokens]))[0].numpy()
    theirs = runtime.logits(tokens)
    assert np.abs(theirs - ours).max() < 1e-4 * max(1, np.abs(ours).max())


def test_the_likeliest_tokens_are_written_without_an_end(runtime, model):
    written = runtime.greedy(model.tokenizer.encode("The ").tolist(), 40)
    assert len(written) == 40
