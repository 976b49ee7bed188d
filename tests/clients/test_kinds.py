"""What other people's programs make of bytes and byte pairs."""

import json
import shutil

import pytest

from tests.clients.conftest import BEFORE, NEWEST
from tests.clients.installing import ask
from tests.playground import random_checkpoint
from tests.tokenizers import DIFFICULT, learned
from tinyllm.formats.config import ExportConfig
from tinyllm.formats.exporters import Source
from tinyllm.formats.run import export_checkpoint
from tinyllm.inference.config import SamplingConfig
from tinyllm.inference.generate import generate_text

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("clients")]
PROMPTS, COUNT = ["The", "What news, \u00e9\u6f22?"], 20


@pytest.fixture(scope="module", params=["byte", "bpe"])
def model(request):
    return random_checkpoint(
        learned(request.param), d_model=32, num_heads=1, d_ff=32, sequence_length=48
    )


@pytest.fixture(scope="module")
def place(model, tmp_path_factory):
    """The folder that goes to the Hub."""
    folder = tmp_path_factory.mktemp("kinds") / "export"
    passage = model.tokenizer.encode(PROMPTS[1] * 9).tolist()
    config = ExportConfig(formats=["huggingface", "onnx"])
    export_checkpoint(config, Source(model, passage), folder)
    return folder / "huggingface"


def written(model):
    greedy = SamplingConfig(temperature=0, max_new_tokens=COUNT)
    return [generate_text(model, prompt, greedy) for prompt in PROMPTS]


@pytest.mark.parametrize("version", [NEWEST, pytest.param(BEFORE, marks=pytest.mark.exhaustive)])
def test_transformers(request, version, place, model, tmp_path):
    python = request.getfixturevalue("newest" if version == NEWEST else "before")
    given = (json.dumps(DIFFICULT), json.dumps(PROMPTS), COUNT)
    found = ask(python, "tokens_.py", place, *given, cwd=tmp_path)
    assert found == {
        "version": version,
        "tokens": [model.tokenizer.encode(text).tolist() for text in DIFFICULT],
        "texts": list(DIFFICULT),
        "written": written(model),
    }


@pytest.mark.skipif(not shutil.which("npm"), reason="Node is not installed")
def test_transformers_in_javascript(javascript, place, model):
    # it reads the name of the special token as that token
    texts = [text for text in DIFFICULT if "<|" not in text]
    given = (json.dumps(texts), json.dumps(PROMPTS), COUNT)
    found = ask("node", "tokens.mjs", place, *given, cwd=javascript)
    assert found["tokens"] == [model.tokenizer.encode(text).tolist() for text in texts]
    assert found["texts"] == texts
    assert found["written"] == written(model)
