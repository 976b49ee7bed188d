"""docs/serving.md, done: each server as the page starts it, asked by OpenAI's own client."""

import json
import os
import re
import subprocess

import pytest
import torch
from torch.nn import functional as F

from tests.clients.installing import ask, make_python
from tests.clients.serving import BLOCKS, packages, serving
from tinyllm.inference.config import SamplingConfig
from tinyllm.inference.generate import generate_text

# they compile llama.cpp, or install gigabytes
pytestmark = [pytest.mark.exhaustive, pytest.mark.slow]
PROMPT, SHORT = "O, ", 20


@pytest.fixture(scope="module")
def place(export_folder, tmp_path_factory):
    """A folder in which the export lies where the page says."""
    folder = tmp_path_factory.mktemp("serving")
    (folder / "models").mkdir()
    (folder / "models/export").symlink_to(export_folder)
    return folder


@pytest.fixture
def native(checkpoint):
    """What the model itself answers, within its window and beyond."""

    def write(count):
        greedy = SamplingConfig(temperature=0, max_new_tokens=count)
        return generate_text(checkpoint, PROMPT, greedy)[len(PROMPT) :]

    return write


def asked(name, python, place, checkpoint, extra=None):
    """What OpenAI's client found, and what the page's own lines print."""
    window = checkpoint.model.config.sequence_length
    with serving(name, python, place) as address:
        words = (address, json.dumps(PROMPT), SHORT, json.dumps(extra or {}), window)
        found = ask(python, "openai_.py", *words, cwd=place)
        printed = subprocess.run(
            [python, "-c", BLOCKS["ask"]],
            env=os.environ | {"SERVER": address},
            capture_output=True,
            text=True,
            check=True,
        )
    return found, printed.stdout.removesuffix("\n")


def expect_text(found, native, keeps_stop=False):
    text = native(SHORT)
    for name in ("text", "streamed", "afterwards"):
        assert found[name] == text, name
    assert found["tokens"] == [len(PROMPT), SHORT]
    end = text.index(text[5:8]) + (3 if keeps_stop else 0)
    assert found["stopped"] == [text[:end], "stop"]


@torch.no_grad()
def logprobs(checkpoint, text):
    ids = torch.tensor([checkpoint.tokenizer.encode(PROMPT + text).tolist()])
    logits = F.log_softmax(checkpoint.model(ids[:, :-1])[0].double(), dim=-1)
    chosen = logits.gather(1, ids[0, 1:, None])[:, 0]
    return chosen[-len(text) :].tolist()


def test_llama_cpp(place, tmp_path, checkpoint, native, monkeypatch):
    name, value = re.search(r"export (\w+)='(.*)'", BLOCKS["install-llama"]).groups()
    monkeypatch.setenv(name, value)
    python = make_python(tmp_path / "venv", *packages("install-llama"), torch=False)
    no_penalty = {"repeat_penalty": 1.0}
    found, printed = asked("llama", python, place, checkpoint, no_penalty)
    expect_text(found, native)
    assert found["echoed"] == PROMPT + found["text"]
    assert found["logprobs"] == pytest.approx(logprobs(checkpoint, found["text"]), abs=0.02)
    # which requests must take back
    assert found["default penalty"] == 1.1
    assert found["by default"] == printed
    assert found["long prompt"] == 200
    assert len(found["long"]) == 2 * checkpoint.model.config.sequence_length


def test_transformers(place, tmp_path, checkpoint, native):
    python = make_python(tmp_path / "venv", *packages("install-transformers"))
    found, printed = asked("transformers", python, place, checkpoint)
    expect_text(found, native, keeps_stop=True)
    assert found["by default"] == printed == found["text"]
    assert found["long prompt"] == 200
    assert found["long"] == native(len(found["long"]))
    # not known to it, as the page says
    assert found["logprobs"] is None
    assert found["echoed"] == found["text"]


def test_vllm(place, tmp_path, checkpoint, native):
    python = make_python(tmp_path / "venv", *packages("install-vllm"))
    # from PyPI these are builds for CUDA, which do not load beside torch for CPUs
    gone = ("torchvision", "torchaudio", "torchcodec")
    subprocess.run(["uv", "pip", "uninstall", "--quiet", "--python", python, *gone], check=True)
    found, printed = asked("vllm", python, place, checkpoint)
    expect_text(found, native)
    assert found["by default"] == printed == found["text"]
    assert found["echoed"] == PROMPT + found["text"]
    assert found["logprobs"] == pytest.approx(logprobs(checkpoint, found["text"]), abs=1e-3)
    assert found["long prompt"] == 200
    assert found["long"] == native(len(found["long"]))


def test_every_block_of_the_page_is_run():
    here = {"ask", *packages_and_servers("llama", "transformers", "vllm")}
    of_mlflow = {"serve", "mlflow-serve", "ask-mlflow"}
    assert here | of_mlflow == set(BLOCKS)


def packages_and_servers(*names):
    return {f"{step}{name}" for name in names for step in ("", "install-")}
