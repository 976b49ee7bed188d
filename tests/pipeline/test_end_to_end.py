"""The pipeline through DVC, MLflow and HTTP, as a user runs it."""

import json
import subprocess
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest

from tests.project import clean_environment
from tests.proxy import free_port
from tests.queue_kill import runs_in
from tests.waiting import wait_until

pytestmark = pytest.mark.slow


def test_nothing_is_left_to_do_after_the_first_run(run):
    assert run("dvc", "status", "--quiet").returncode == 0
    assert "Running stage" not in run("dvc", "repro").stdout


@pytest.mark.exhaustive
def test_a_forced_second_run_writes_the_same_bytes(project, run):
    run("dvc", "repro", "--force", "--no-run-cache")
    assert run("git", "status", "--porcelain").stdout == ""
    assert len(runs_in(project)) == 1


def test_the_first_run_is_tracked_completely(project):
    (run,) = runs_in(project)
    assert run.info.status == "FINISHED"
    assert run.data.params["train.max_steps"] == "60"
    assert run.data.params["prepare.val_fraction"] == "0.1"
    assert {"train_loss", "val_loss", "gradient_norm", "characters_per_second"} <= set(
        run.data.metrics
    )
    assert "test_bits_per_character" in run.data.metrics
    assert len(run.data.tags["git.commit"]) == 40
    uses = {tag.value for data in run.inputs.dataset_inputs for tag in data.tags}
    assert uses >= {"training", "val", "evaluation"}
    assert {data.dataset.name for data in run.inputs.dataset_inputs} == {"the-salt-duke.txt"}
    artifacts = Path(url2pathname(urlsplit(run.info.artifact_uri).path))
    files = {str(p.relative_to(artifacts)) for p in artifacts.rglob("*") if p.is_file()}
    assert {file for file in files if file.startswith("train/")} == {
        "train/history.csv",
        "train/metrics.json",
    }
    assert {"evaluate/curves.png", "evaluate/samples.txt", "export/parity.json"} <= files


def test_metrics_and_plots_can_be_compared(run):
    run("dvc", "metrics", "diff")
    page = run("dvc", "plots", "diff", "HEAD").stdout
    assert "index.html" in page


def test_returning_to_earlier_parameters_runs_nothing(project, run):
    params = (project / "params.yaml").read_text(encoding="utf-8")
    changed = params.replace("sample_length: 80", "sample_length: 40")
    (project / "params.yaml").write_text(changed, encoding="utf-8")
    assert "Running stage 'evaluate'" in run("dvc", "repro", "evaluate").stdout
    assert run("dvc", "status", "evaluate", "--quiet").returncode == 0
    run("git", "checkout", "--quiet", "--", ".")
    assert "Running stage" not in run("dvc", "repro").stdout
    assert run("git", "status", "--porcelain").stdout == ""
    assert len(runs_in(project)) == 1


def test_the_champion_answers_over_http(project):
    port = free_port()
    environment = clean_environment()
    environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{project / 'mlflow.db'}"
    command = ["mlflow", "models", "serve", "-m", "models:/tinyllm@champion"]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, cwd=project, env=environment) as server:
        try:
            wait_until(lambda: server.poll() is not None or answers(port), between=0.2)
            first = ask(port, "O, my ", {"max_new_tokens": 30, "seed": 3})
            again = ask(port, "O, my ", {"max_new_tokens": 30, "seed": 3})
            short = ask(port, "O, my ", {"max_new_tokens": 5, "seed": 3})
        finally:
            server.terminate()
    assert first.startswith("O, my ")
    assert len(first) == 36
    assert first == again
    assert first.startswith(short)


def answers(port: int) -> bool:
    """Whether the server responds."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=2):
            return True
    except OSError:
        return False


def ask(port: int, prompt: str, params: dict) -> str:
    """Send a prompt and return the text."""
    body = json.dumps({"dataframe_records": [{"prompt": prompt}], "params": params}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=600) as answer:
        return json.load(answer)["predictions"][0]["text"]
