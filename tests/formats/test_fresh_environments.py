"""The exports in fresh environments with what the card names, and nothing of ours."""

import json
import subprocess
import sys

import pytest

from tinyllm.inference.config import SamplingConfig
from tinyllm.inference.generate import generate_text

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]
PROMPT, COUNT = "What news, ", 200

TRANSFORMERS = """
import json, sys
from transformers import AutoModelForCausalLM, AutoTokenizer, __version__
folder, prompt, count = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
how = {"trust_remote_code": False, "local_files_only": True}
tokenizer = AutoTokenizer.from_pretrained(folder, **how)
model = AutoModelForCausalLM.from_pretrained(folder, **how)
tokens = tokenizer(prompt, return_tensors="pt")
written = model.generate(**tokens, do_sample=False, max_new_tokens=count)[0]
print(json.dumps([__version__, tokenizer.decode(written)]))
"""
PYFUNC = """
import importlib.util, json, sys
import mlflow.pyfunc, pandas
assert importlib.util.find_spec("torch") is None
assert importlib.util.find_spec("tinyllm") is None
folder, prompt, count = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
model = mlflow.pyfunc.load_model(folder)
params = {"temperature": 0.0, "max_new_tokens": count}
texts = model.predict(pandas.DataFrame({"prompt": [prompt, prompt[:4]]}), params=params)["text"]
stream = model.predict_stream({"prompt": prompt}, params=params)
print(json.dumps([texts[0], prompt + "".join(stream)]))
"""


@pytest.fixture
def fresh_python(tmp_path):
    """Make a virtual environment with some packages and return its interpreter."""

    def make(*packages):
        subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
        python = str(tmp_path / "venv/bin/python")
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        return python

    return make


@pytest.fixture
def expected(checkpoint):
    greedy = SamplingConfig(temperature=0, max_new_tokens=COUNT)
    return generate_text(checkpoint, PROMPT, greedy)


def run_there(python, program, folder, elsewhere):
    result = subprocess.run(
        [python, "-c", program, str(folder), json.dumps(PROMPT), str(COUNT)],
        cwd=elsewhere,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.parametrize("version", ["4.57.6", "5.23.0"])
def test_transformers_alone_writes_the_same_text(
    fresh_python, export_folder, expected, tmp_path, version
):
    python = fresh_python(f"transformers=={version}", "torch==2.13.0")
    found = run_there(python, TRANSFORMERS, export_folder / "huggingface", tmp_path)
    assert found == [version, expected]


def test_the_mlflow_model_needs_only_what_it_lists(fresh_python, export_folder, expected, tmp_path):
    folder = export_folder / "pyfunc"
    python = fresh_python("--requirement", str(folder / "requirements.txt"))
    assert run_there(python, PYFUNC, folder, tmp_path) == [expected, expected]
