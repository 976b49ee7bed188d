"""The MLflow format: it predicts what we generate, without pickles, times and ids."""

import re
import subprocess
import sys

import mlflow.pyfunc
import pandas as pd
import pytest
import torch
import yaml

from tinyllm.inference.config import SamplingConfig
from tinyllm.inference.generate import generate_text

pytestmark = pytest.mark.medium

GREEDY = {"temperature": 0.0, "max_new_tokens": 20}
UUID = re.compile(r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}")
TIME = re.compile(r"20\d\d-\d\d-\d\d|\d\d:\d\d:\d\d|time_created")


@pytest.fixture(scope="module")
def folder(export_folder):
    return export_folder / "pyfunc"


@pytest.fixture(scope="module")
def served(folder):
    """The model opened by MLflow, whose changes to this process are undone."""
    path, threads = list(sys.path), torch.get_num_threads()
    yield mlflow.pyfunc.load_model(str(folder))
    sys.path[:] = path
    torch.set_num_threads(threads)


def ask(served, *prompts, **params):
    return served.predict(pd.DataFrame({"prompt": prompts}), params=params)["text"].tolist()


def test_a_prediction_begins_with_the_prompt_and_is_what_we_generate(served, checkpoint):
    (text,) = ask(served, "What news, ", **GREEDY)
    assert text.startswith("What news, ")
    assert text == generate_text(checkpoint, "What news, ", SamplingConfig(**GREEDY))


@pytest.mark.parametrize("prompt", ["What", "W", "O" * 50])
def test_a_stream_continues_the_whole_prompt(served, checkpoint, prompt):
    pieces = list(served.predict_stream({"prompt": prompt}, params=GREEDY))
    assert len(pieces) == 20
    wanted = generate_text(checkpoint, prompt, SamplingConfig(**GREEDY))
    assert prompt + "".join(pieces) == wanted


def test_a_stream_takes_the_sampling_params(served, checkpoint):
    params = {"seed": 3, "max_new_tokens": 30, "top_k": 5, "stop": "e"}
    text = "".join(served.predict_stream({"prompt": "What"}, params=params))
    assert "What" + text == generate_text(checkpoint, "What", SamplingConfig(**params))


def test_every_prompt_gets_its_text(served, checkpoint):
    prompts = ["", "DUKE:\n", "O" * 50]
    params = {"seed": 3, "max_new_tokens": 15, "top_k": 5, "top_p": 0.9, "stop": "e"}
    wanted = [generate_text(checkpoint, prompt, SamplingConfig(**params)) for prompt in prompts]
    assert ask(served, *prompts, **params) == wanted


def test_without_params_the_defaults_apply(served, checkpoint):
    text = served.predict(pd.DataFrame({"prompt": ["What"]}))["text"][0]
    assert text == generate_text(checkpoint, "What")


@pytest.mark.parametrize("params", [{"temperature": -1.0}, {"max_new_tokens": 0}, {"top_p": 2.0}])
def test_a_param_out_of_range_is_refused(served, params):
    with pytest.raises(mlflow.MlflowException, match=next(iter(params))) as caught:
        ask(served, "What", **params)
    assert caught.value.get_http_status_code() == 400


@pytest.mark.parametrize("prompt", [None, 5, 1.5, True, ["a", "b"], {"a": "b"}, float("nan")])
def test_what_is_no_text_is_refused(served, prompt):
    with pytest.raises(mlflow.MlflowException, match="prompt 2 "):
        ask(served, "What", prompt, **GREEDY)
    # in a stream's dictionary these are MLflow's ways to write a column
    if isinstance(prompt, list | dict):
        return
    with pytest.raises(mlflow.MlflowException, match="prompt 1 "):
        list(served.predict_stream({"prompt": prompt}, params=GREEDY))


@pytest.mark.parametrize(("prompts", "written"), [(1, 1_000_000), (200, 400), (1001, 1), (1, 0)])
def test_more_than_one_request_may_ask_for_is_refused(served, prompts, written):
    texts = ["a"] * prompts if written else ["a" * 200_001]
    with pytest.raises(mlflow.MlflowException, match="at most"):
        ask(served, *texts, max_new_tokens=written or 1)


def test_a_table_without_prompts_is_refused(served):
    with pytest.raises(mlflow.MlflowException, match="prompt"):
        served.predict(pd.DataFrame({"text": ["What"]}))


def test_the_signature_names_every_sampling_param_with_its_default(served):
    params = {spec.name: spec.default for spec in served.metadata.signature.params}
    assert params == SamplingConfig().model_dump()


def test_the_description_holds_no_time_and_no_uuid(folder):
    description = (folder / "MLmodel").read_text()
    assert not UUID.search(description)
    assert not TIME.search(description)
    assert {"model_uuid", "model_id", "run_id", "utc_time_created"}.isdisjoint(
        yaml.safe_load(description)
    )


def test_no_file_is_a_pickle(folder):
    # a test that opens the model leaves compiled code behind
    files = (path for path in folder.rglob("*") if path.parent.name != "__pycache__")
    names = [path.name for path in files if path.is_file()]
    assert "MLmodel" in names
    assert [name for name in names if name.endswith((".pkl", ".pickle", ".pt"))] == []


def test_the_requirements_are_pinned(folder):
    lines = (folder / "requirements.txt").read_text().split()
    assert all(re.fullmatch(r"[a-z]+==[\w.]+", line) for line in lines)
    assert {line.partition("==")[0] for line in lines} == {
        "mlflow",
        "numpy",
        "onnxruntime",
        "pandas",
        "pydantic",
    }


def test_the_model_runs_on_its_own_copy_of_the_code(folder, checkpoint, tmp_path):
    program = (
        "import sys; sys.path[:] = [p for p in sys.path if p]\n"
        "import mlflow.pyfunc, pandas\n"
        f"model = mlflow.pyfunc.load_model({str(folder)!r})\n"
        "table = pandas.DataFrame({'prompt': ['What']})\n"
        f"print(repr(model.predict(table, params={GREEDY!r})['text'][0]))\n"
        "import tinyllm.inference.generate\n"
        "print(tinyllm.inference.generate.__file__)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    text, place = result.stdout.splitlines()[-2:]
    assert text == repr(generate_text(checkpoint, "What", SamplingConfig(**GREEDY)))
    assert place == str(folder / "code/tinyllm/inference/generate.py")
