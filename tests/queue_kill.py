"""Kill a worker of DVC's queue, rerun what it lost, and see that every run is there, once.

    python -m tests.queue_kill [EXPERIMENTS]     twelve if not said; exit code 1 if one is missing

Two workers take experiments of a reduced copy of the project. One is killed with its children
(kill -9) in the middle of a run. What the queue then still calls running is lost; it is
removed from the queue and run again, as the README says.
"""

import contextlib
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import psutil
import yaml

from tests.project import clean_environment, copy_project, run_in
from tinyllm.app.tracking.journal import Journal

LONGEST_WAIT = 1800.0
STEPS = 300
# a run of seconds, to be hit in its middle, and one export
PARAMS = {
    "model": {"d_model": 32, "num_heads": 1, "num_layers": 2, "d_ff": 64, "sequence_length": 32},
    "train": {"max_steps": STEPS, "learning_rate": 0.02, "batch_size": 8, "warmup_steps": 5},
    "export": {"formats": ["pyfunc"], "verify_with": ["onnxruntime"]},
}
# what `python -m tinyllm.app.tracking.background FINGERPRINT train` is called with
DELIVERY = "tinyllm.app.tracking.background"


def make_queue(project: Path, rates: list[float]) -> None:
    """A copy of the project with an experiment in the queue for each learning rate."""
    copy_project(project)
    reduced = yaml.safe_load((project / "params.yaml").read_text(encoding="utf-8"))
    params = {**reduced, **PARAMS}
    (project / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    run_in(project, "dvc", "repro", "tokenize")
    run_in(project, "git", "add", "--all")
    run_in(project, "git", "commit", "--quiet", "--message", "what all experiments share")
    for rate in rates:
        run_in(project, "dvc", "exp", "run", "--queue", "-S", f"train.learning_rate={rate}")


def start_workers(project: Path) -> None:
    """`dvc queue start`, with its output to nowhere: the workers hold on to it until they end."""
    command = ["dvc", "queue", "start", "-j", "2"]
    subprocess.run(
        command, cwd=project, env=clean_environment(), stdout=DEVNULL, stderr=DEVNULL, check=True
    )
    deadline = time.monotonic() + LONGEST_WAIT
    while not workers(project) and time.monotonic() < deadline:
        time.sleep(0.1)


def kill_one_worker(project: Path) -> tuple[int, int]:
    """kill -9 of a worker and all below it, while it trains; return the step and how many died."""
    deadline = time.monotonic() + LONGEST_WAIT
    while time.monotonic() < deadline:
        for worker in workers(project):
            with contextlib.suppress(psutil.NoSuchProcess):
                family = [worker, *worker.children(recursive=True)]
                step = max((_training_step(project, member) for member in family), default=0)
                if STEPS / 4 <= step < STEPS:
                    for member in family:
                        _kill(member)
                    return step, len(family)
        time.sleep(0.05)
    raise TimeoutError("no worker began to train")


def workers(project: Path) -> list[psutil.Process]:
    """The workers of the queue."""
    return [
        process
        for process in psutil.process_iter()
        if "queue-worker" in _words(process) and _works_in(process, project)
    ]


def wait_for_queue(project: Path) -> dict[str, str]:
    """Wait while any worker works; return the state of each experiment."""
    deadline = time.monotonic() + LONGEST_WAIT
    while workers(project):
        if time.monotonic() > deadline:
            raise TimeoutError("the queue is not done")
        time.sleep(1)
    return queue(project)


def queue(project: Path) -> dict[str, str]:
    """Experiments in the queue, by their short ids."""
    lines = run_in(project, "dvc", "queue", "status").stdout.splitlines()
    found = (re.match(r"([0-9a-f]{7})\b.*\b(Queued|Running|Success|Failed)\b", li) for li in lines)
    return {match[1]: match[2] for match in found if match}


def runs_in(project: Path) -> list[Any]:
    """All runs in the project's MLflow."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tinyllm")
    return list(client.search_runs([experiment.experiment_id], max_results=1000))


def missing(runs: list[Any], rates: list[float]) -> list[float]:
    """Learning rates without a run that was trained and evaluated."""
    whole = {
        float(run.data.params["train.learning_rate"])
        for run in runs
        if run.info.status == "FINISHED" and "test_bits_per_character" in run.data.metrics
    }
    return [rate for rate in rates if rate not in whole]


def with_repeated_steps(project: Path, runs: list[Any]) -> list[str]:
    """Runs that hold a step of the training's curve more than once, or not all of it."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    every = list(range(10, STEPS + 1, 10))
    steps = {
        run.info.run_name: [
            p.step for p in client.get_metric_history(run.info.run_id, "train_loss")
        ]
        for run in runs
    }
    return [name for name, taken in steps.items() if sorted(taken) != every]


def rerun_what_was_lost(project: Path, rates: list[float]) -> None:
    """What the README says."""
    run_in(project, "tinyllm", "runs")
    lost = [name for name, state in queue(project).items() if state == "Running"]
    killed = [run for run in runs_in(project) if run.info.status == "KILLED"]
    again = [float(run.data.params["train.learning_rate"]) for run in killed]
    print(f"lost: {', '.join(lost)}, rates {again}; {summary(runs_in(project))}", flush=True)
    run_in(project, "dvc", "queue", "kill", *lost)
    run_in(project, "dvc", "queue", "remove", "--failed")
    for rate in again:
        run_in(project, "dvc", "exp", "run", "--queue", "-S", f"train.learning_rate={rate}")
    states = queue(project)
    # a worker now and then dies of half a message that it reads from DVC's queue
    while "Queued" in states.values():
        start_workers(project)
        states = wait_for_queue(project)
    print(f"the queue: {dict(Counter(states.values()))}", flush=True)


def main(count: int) -> int:
    """Queue, kill, rerun, count."""
    rates = [round(0.004 + 0.002 * number, 3) for number in range(count)]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        project = Path(folder) / "project"
        make_queue(project, rates)
        start_workers(project)
        step, died = kill_one_worker(project)
        print(f"killed {died} processes at step {step} of {STEPS}", flush=True)
        wait_for_queue(project)
        rerun_what_was_lost(project, rates)
        runs = runs_in(project)
        absent, wrong = missing(runs, rates), with_repeated_steps(project, runs)
    distinct = len({run.data.params["train.learning_rate"] for run in runs})
    print(
        f"after the rerun: {summary(runs)}; {distinct} learning rates; absent: {absent or 'none'}"
    )
    print(f"runs with a step missing or repeated: {wrong or 'none'}")
    return int(len(runs) != count or distinct != count or bool(absent or wrong))


def summary(runs: list[Any]) -> str:
    """How many runs are in which state."""
    states = Counter(run.info.status for run in runs)
    return ", ".join(f"{number} {state}" for state, number in sorted(states.items()))


def _training_step(project: Path, process: psutil.Process) -> int:
    """How far the training has come whose delivery this process is; 0 for any other."""
    words = _words(process)
    if DELIVERY not in words or words[-1] != "train":
        return 0
    journal = Journal(project / ".tinyllm" / "journal", words[-2])
    return max((event.get("step", 0) for event, _ in journal.events()), default=0)


def _works_in(process: psutil.Process, project: Path) -> bool:
    try:
        return Path(process.cwd()) == project.resolve()
    except (psutil.Error, OSError):
        return False


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 12))
