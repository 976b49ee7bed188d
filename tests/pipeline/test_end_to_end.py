"""The pipeline through DVC, MLflow and HTTP, as a person uses it."""

import json
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.project import clean_environment
from tests.queue_kill import kill_one_worker, queue, start_workers, wait_for_queue
from tests.readme import runnable_blocks
from tests.waiting import wait_until

pytestmark = pytest.mark.slow


def runs_in(project: Path) -> list:
    """All MLflow runs of the project's own store."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tinyllm")
    return list(client.search_runs([experiment.experiment_id], max_results=100))


def test_nothing_is_left_to_do_after_the_first_run(run):
    assert run("dvc", "status", "--quiet").returncode == 0
    assert "Running stage" not in run("dvc", "repro").stdout


def test_a_forced_second_run_writes_the_same_bytes(project, run):
    run("dvc", "repro", "--force", "--no-run-cache")
    assert run("git", "status", "--porcelain").stdout == ""
    assert len(runs_in(project)) == 1


def test_the_first_run_is_tracked_whole(project):
    (run,) = runs_in(project)
    assert run.info.status == "FINISHED"
    assert run.data.params["train.max_steps"] == "60"
    assert run.data.params["prepare.val_fraction"] == "0.1"
    assert {"train_loss", "val_loss", "gradient_norm", "characters_per_second"} <= set(
        run.data.metrics
    )
    assert "test_bits_per_character" in run.data.metrics
    assert len(run.data.tags["git.commit"]) == 40
    assert {dataset.dataset.name for dataset in run.inputs.dataset_inputs} >= {"train", "test"}


def test_metrics_and_plots_can_be_compared(run):
    run("dvc", "metrics", "diff")
    page = run("dvc", "plots", "diff", "HEAD").stdout
    assert "index.html" in page


def test_experiments_and_a_queue_with_two_workers_land_in_one_store(project, run):
    run("dvc", "exp", "run", "-S", "train.learning_rate=0.01")
    for rate in ("0.004", "0.005"):
        run("dvc", "exp", "run", "--queue", "-S", f"train.learning_rate={rate}")
    run("dvc", "queue", "start", "-j", "2")

    def states() -> str:
        return run("dvc", "queue", "status").stdout

    wait_until(lambda: not {"Queued", "Running"} & set(states().split()), between=2)
    assert states().count("Success") >= 2, states()
    runs = runs_in(project)
    assert len(runs) == 4
    assert {one.info.status for one in runs} == {"FINISHED"}
    assert len({one.data.params["train.learning_rate"] for one in runs}) == 4
    assert all("test_bits_per_character" in one.data.metrics for one in runs)
    assert run("dvc", "exp", "show", "--csv").stdout.count("0.00") >= 2


def test_going_back_to_earlier_parameters_runs_nothing(project, run):
    before = len(runs_in(project))
    run("git", "checkout", "--quiet", "--", ".")
    output = run("dvc", "repro").stdout
    assert "Running stage" not in output
    assert len(runs_in(project)) == before


def test_the_champion_answers_over_http(project):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
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


def test_a_text_of_ones_own_needs_one_parameter(project, run):
    own = project / "mine.txt"
    own.write_text("Ein Männlein steht im Walde, ganz still und stumm.\n" * 400, encoding="utf-8")
    run("git", "add", "mine.txt")
    run("git", "commit", "--quiet", "--message", "a text of my own")
    run("dvc", "exp", "run", "-S", "prepare.source=mine.txt", "-S", 'evaluate.prompts=["Ein "]')
    metrics = json.loads((project / "reports/evaluate/metrics.json").read_text(encoding="utf-8"))
    assert metrics["bits_per_character"] < 2.5


@pytest.mark.parametrize("block", runnable_blocks(), ids=lambda block: block.text.split("\n")[0])
def test_a_block_of_the_readme_runs(project, run, block):
    if block.language == "python":
        printed = run("python", "-c", block.text).stdout
        assert len(printed) > 100
        return
    text = block.text
    if "NAME" in text:
        text = text.replace("NAME", lose_an_experiment(project, run))
    printed = run("bash", "-euc", text).stdout
    assert len(printed) > 50
    wait_for_queue(project)
    assert "Running" not in queue(project).values()


def lose_an_experiment(project: Path, run) -> str:
    """Kill a worker of the queue in the middle of a training; return the experiment's name."""
    run("git", "checkout", "--quiet", "--", ".")
    run("dvc", "queue", "remove", "--all")
    run(
        "dvc",
        "exp",
        "run",
        "--queue",
        "-S",
        "train.learning_rate=0.03",
        "-S",
        "train.max_steps=3000",
    )
    start_workers(project)
    kill_one_worker(project)
    wait_for_queue(project)
    (lost,) = (name for name, state in queue(project).items() if state == "Running")
    return lost


def answers(port: int) -> bool:
    """Tell whether the server answers."""
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
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["predictions"][0]["text"]
