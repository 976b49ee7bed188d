"""The export, what the model itself writes, and environments that several tests share."""

import pytest

from tests.clients.installing import make_node, make_python
from tests.shared import make_once
from tinyllm.inference.config import SamplingConfig
from tinyllm.inference.generate import generate_text

PROMPTS, COUNT = ["What", "What news, "], 100
NEWEST, BEFORE = "5.24.0", "4.57.6"


@pytest.fixture(scope="session")
def folder(export_folder):
    """The folder that goes to the Hub."""
    return export_folder / "huggingface"


@pytest.fixture(scope="session")
def newest(tmp_path_factory):
    """The newest transformers."""
    place = make_once(
        tmp_path_factory,
        "newest",
        lambda place: make_python(place / "venv", f"transformers=={NEWEST}", "accelerate==1.15.0"),
    )
    return str(place / "venv/bin/python")


@pytest.fixture(scope="session")
def workshop(tmp_path_factory):
    """What tunes and measures models."""
    packages = (f"transformers=={NEWEST}", "trl==1.16.0", "peft==0.21.2", "lm-eval==0.4.13")
    place = make_once(
        tmp_path_factory, "workshop", lambda place: make_python(place / "venv", *packages)
    )
    return str(place / "venv/bin/python")


@pytest.fixture(scope="session")
def before(tmp_path_factory):
    """The last transformers of version 4, which Optimum needs, and OpenVINO."""
    packages = (f"transformers=={BEFORE}", "optimum-onnx==0.1.0", "onnxruntime==1.32.0")
    place = make_once(
        tmp_path_factory,
        "before",
        lambda place: make_python(place / "venv", *packages, "openvino==2026.4.1"),
    )
    return str(place / "venv/bin/python")


@pytest.fixture(scope="session")
def javascript(tmp_path_factory):
    """A folder with transformers.js, and with what drives browsers."""
    packages = ("@huggingface/transformers@4.3.2", "puppeteer-core@24.43.1")
    return make_once(tmp_path_factory, "javascript", lambda place: make_node(place, *packages))


@pytest.fixture
def expected(checkpoint):
    """What the model itself writes."""
    greedy = SamplingConfig(temperature=0, max_new_tokens=COUNT)
    return [generate_text(checkpoint, prompt, greedy) for prompt in PROMPTS]
