"""What other people's programs make of the exports."""

import json
import shutil

import pytest

from tests.clients.conftest import BEFORE, COUNT, NEWEST, PROMPTS
from tests.clients.installing import ask, make_node, make_python
from tinyllm.inference.config import SamplingConfig
from tinyllm.inference.generate import generate_text
from tinyllm.tokens.shards import load_tokens

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("clients")]
# within the window, beyond which llama.cpp's attention does not slide
SHORT = 18
node = pytest.mark.skipif(not shutil.which("npm"), reason="Node is not installed")


@pytest.mark.parametrize("version", [NEWEST, BEFORE])
def test_transformers(request, version, folder, expected, tmp_path):
    python = request.getfixturevalue("newest" if version == NEWEST else "before")
    found = ask(python, "transformers_.py", folder, json.dumps(PROMPTS), COUNT, cwd=tmp_path)
    assert found == {
        "version": version,
        "alone": expected,
        "together": expected,
        "piped": expected,
        "guessed": expected[0],
        "unknown": 0,
        "from nothing": COUNT,
        "literal": 7,
        "trained on": sum(map(len, PROMPTS)),
    }


# its packages are large
@pytest.mark.exhaustive
def test_trl_and_peft_tune_it(workshop, folder, tmp_path):
    found = ask(workshop, "tuning.py", folder, json.dumps("O"), tmp_path, cwd=tmp_path)
    losses = found["losses"]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert found["text"].startswith("O")


# its packages are large
@pytest.mark.exhaustive
def test_lm_eval_measures_what_we_measure(workshop, folder, checkpoint, text, tokens, tmp_path):
    sample = checkpoint.tokenizer.decode(load_tokens(tokens, "test")[:3000])
    found = ask(workshop, "harness.py", folder, json.dumps(sample), tmp_path, cwd=tmp_path)
    greedy = SamplingConfig(temperature=0, max_new_tokens=16)
    ours = generate_text(checkpoint, sample[:16], greedy)[16:].partition(".")[0]
    assert found["written"] == ours
    assert found["right"] == 1.0
    assert found["bits"] == pytest.approx(_bits(checkpoint, sample), abs=1e-3)


def _bits(checkpoint, sample):
    """Bits per character as lm-eval counts: in windows that begin with the character before."""
    import torch
    from torch.nn import functional as F

    total, window = 0.0, checkpoint.model.config.sequence_length
    for first in range(0, len(sample), 1000):
        ids = [0, *checkpoint.tokenizer.encode(sample[first : first + 1000]).tolist()]
        start = 1
        while start < len(ids):
            end = min(start + window, len(ids))
            # the last window is filled up with what stands before
            begin = max(0, end - 1 - window)
            with torch.no_grad():
                logits = checkpoint.model(torch.tensor([ids[begin : end - 1]]))[0].double()
            wanted = torch.tensor(ids[start:end])
            total += F.cross_entropy(logits[-len(wanted) :], wanted, reduction="sum").item()
            start = end
    return total / len(sample.encode()) / 0.6931471805599453


def test_optimum_and_openvino(before, folder, expected, tmp_path):
    found = ask(before, "graphs.py", folder, json.dumps(PROMPTS), COUNT, cwd=tmp_path)
    for name in ("as it lies", "optimum", "openvino"):
        assert found[name] == expected, name
    for name in ("optimum, 8 bits", "openvino, 8 bits"):
        # weights of 8 bits may choose another letter at some time
        assert all(
            text[:8] == right[:8] for text, right in zip(found[name], expected, strict=False)
        )
        assert {len(text) for text in found[name]} <= {len(right) for right in expected}


@node
def test_transformers_in_javascript(javascript, folder, expected):
    found = ask("node", "transformers.mjs", folder, json.dumps(PROMPTS), COUNT, cwd=javascript)
    assert found["fp32"]["alone"] == found["fp32"]["together"] == expected
    assert found["q8"]["alone"] == found["q8"]["together"]
    for graph in found.values():
        (unknown,), (hot,) = graph["unknown"], graph["hot"]
        assert unknown.startswith("What")
        assert len(hot) == 1 + COUNT
        assert "<unk>" not in hot


# its packages are large
@pytest.mark.exhaustive
@node
def test_llama_cpp_by_node(export_folder, checkpoint, tmp_path):
    make_node(
        tmp_path, "--omit=optional", "node-llama-cpp@3.22.1", "@node-llama-cpp/linux-x64@3.22.1"
    )
    prompt = PROMPTS[1]
    greedy = SamplingConfig(temperature=0, max_new_tokens=SHORT)
    found = ask("node", "llama.mjs", export_folder / "gguf", prompt, SHORT, cwd=tmp_path)
    ours = generate_text(checkpoint, prompt, greedy)
    assert found["texts"] == dict.fromkeys(
        ("model-f16.gguf", "model-f32.gguf", "model-q8_0.gguf"), ours
    )
    assert found["warnings"] == []


@pytest.mark.exhaustive
def test_the_mlflow_model_needs_only_what_it_lists(export_folder, expected, tmp_path):
    folder = export_folder / "pyfunc"
    listed = ("--requirement", str(folder / "requirements.txt"))
    python = make_python(tmp_path / "venv", *listed, torch=False)
    found = ask(python, "pyfunc.py", folder, json.dumps(PROMPTS[1]), COUNT, cwd=tmp_path)
    assert found == [expected[1], expected[1]]
