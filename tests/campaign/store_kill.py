"""Killing whoever makes MLflow's database, and seeing that nothing is lost by it.

`tinyllm sync` has a run to deliver and no store to deliver it to, and is killed while it makes one.
Then there is no store or a whole one, and the next `tinyllm sync` delivers everything. MLflow's own
library makes a store in place, and killed likewise leaves a half-made one.
"""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.project import clean_environment
from tinyllm.app.tracking.database import Condition, examine
from tinyllm.app.tracking.journal import Journal

POINTS = 300
FINGERPRINT = "f" * 32
SYNC = [sys.executable, "-m", "tinyllm.app.cli", "sync"]
IN_PLACE = [
    sys.executable,
    "-c",
    "import mlflow; mlflow.MlflowClient('sqlite:///mlflow.db').search_experiments(max_results=1)",
]
LONGEST_WAIT = 600.0


@dataclass(frozen=True)
class Outcome:
    """One kill: whose making, after how long, what it left, and whether all was delivered then."""

    maker: str
    after: float
    left: Condition
    delivered: bool

    @property
    def good(self) -> bool:
        """Whether our maker left no store or a whole one, and nothing was lost."""
        expected = {Condition.ABSENT, Condition.WHOLE}
        return self.delivered and (self.maker == "MLflow" or self.left in expected)

    def __str__(self) -> str:
        verdict = "everything delivered" if self.delivered else "LOST"
        return f"{self.maker:8} {self.after:5.2f} s  left {self.left.value:40} {verdict}"


def make_project(folder: Path) -> Path:
    """A folder with the journal of a finished run that no store has got."""
    journal = Journal(folder / ".tinyllm" / "journal", FINGERPRINT)
    journal.add("run", stage="train", experiment="tinyllm", name="run", params={"a": "1"}, tags={})
    journal.add("status", value="RUNNING")
    for step in range(1, POINTS + 1):
        journal.add_metrics(step, {"train_loss": 1 / step})
    (folder / "figure.png").write_bytes(b"picture")
    journal.add("artifact", folder="train", **journal.files.keep(folder / "figure.png"))
    journal.add("text", text="words", file="train/words.txt")
    journal.add("status", value="FINISHED")
    return folder


def start(project: Path, command: list[str]) -> tuple[subprocess.Popen[bytes], float]:
    """Start a maker; return it as soon as its file is there, and the time."""
    environment = clean_environment() | {"DVC_ROOT": str(project)}
    place = project / ("mlflow.db" if command is IN_PLACE else "mlflow.db.unfinished")
    process = subprocess.Popen(
        command,
        cwd=project,
        env=environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not place.exists() and process.poll() is None:
        time.sleep(0.002)
    return process, time.monotonic()


def kill(project: Path, command: list[str], after: float) -> Condition:
    """Kill a maker so many seconds after its file is there; return what stands at the place."""
    process, since = start(project, command)
    while time.monotonic() < since + after and process.poll() is None:
        time.sleep(0.002)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(LONGEST_WAIT)
    return examine(project / "mlflow.db")


def everything_is_delivered(project: Path) -> bool:
    """Whether `tinyllm sync` brings the whole run to a store, once."""
    environment = clean_environment() | {"DVC_ROOT": str(project)}
    result = subprocess.run(SYNC, cwd=project, env=environment, capture_output=True, check=False)
    if result.returncode:
        print(result.stderr.decode())
        return False
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tinyllm")
    runs = client.search_runs([experiment.experiment_id])
    if [run.info.status for run in runs] != ["FINISHED"]:
        return False
    run_id = runs[0].info.run_id
    steps = [point.step for point in client.get_metric_history(run_id, "train_loss")]
    files = {file.path for file in client.list_artifacts(run_id, "train")}
    return steps == list(range(1, POINTS + 1)) and files == {"train/figure.png", "train/words.txt"}


def kill_once(project: Path, command: list[str], after: float) -> Outcome:
    """Kill a maker in a new project, and deliver."""
    make_project(project)
    left = kill(project, command, after)
    maker = "MLflow" if command is IN_PLACE else "tinyllm"
    return Outcome(maker, after, left, everything_is_delivered(project))


def seconds_to_make(folder: Path, command: list[str]) -> float:
    """How long a making takes that nobody kills, from the first byte to the end."""
    process, since = start(make_project(folder), command)
    process.wait(LONGEST_WAIT)
    return time.monotonic() - since
