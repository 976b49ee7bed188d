"""Sweeps and repeated seeds as a person runs them: real DVC experiments, killed and taken up."""

import contextlib
import json
import shlex
import signal
import subprocess

import psutil
import pytest

from tests.app.experiments.conftest import STEPS
from tests.project import clean_environment, run_in
from tests.waiting import live, wait_until

pytestmark = pytest.mark.slow

SPACE = "train.learning_rate=log(0.00001,0.03)"
# the fifth point of this seed is the lowest by far, the other four are good ones
SEED = "244"
KEEPER = "tinyllm.app.experiments.keeper"


def sweep(*more: str, name: str = "rates") -> list[str]:
    return ["tinyllm", "sweep", "-s", SPACE, "--seed", SEED, "--name", name, "--json", *more]


def steps_in_journals(project) -> dict[str, int]:
    """The last step that each training has written down."""
    found = {}
    for path in (project / ".tinyllm/journal").glob("*.jsonl"):
        lines = [line for line in path.read_text().splitlines(keepends=True) if line[-1] == "\n"]
        steps = [e["step"] for e in map(json.loads, lines) if e["kind"] == "metrics"]
        if steps:
            found[path.stem] = max(steps)
    return found


def trains(project, before: dict[str, int]) -> bool:
    """Whether two more trainings are in their middle."""
    new = {name: step for name, step in steps_in_journals(project).items() if name not in before}
    return len(new) == 2 and min(new.values()) >= 40


def processes_of(project) -> list[psutil.Process]:
    """All that experiments have started."""
    place = str(project / ".tinyllm" / "sweeps")
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if place in process.cwd() or KEEPER in process.cmdline():
                found.append(process)
    return found


def end_in_the_middle(project, command: list[str], number: int) -> tuple[int, list[psutil.Process]]:
    """Send the command alone a signal while it trains; return its exit code, and all below it."""
    before = steps_in_journals(project)
    process = subprocess.Popen(command, cwd=project, env=clean_environment())
    wait_until(lambda: process.poll() is not None or trains(project, before), between=0.02)
    assert process.poll() is None
    found = processes_of(project)
    process.send_signal(number)
    return process.wait(), found


@pytest.fixture(scope="module")
def killed(project) -> list[psutil.Process]:
    """What was left of a sweep that was killed while both of its trials ran."""
    return end_in_the_middle(project, sweep("--trials", "2", "--workers", "2"), signal.SIGKILL)[1]


@pytest.fixture(scope="module")
def resumed(project, killed) -> dict:
    return json.loads(run_in(project, *sweep("--trials", "2", "--workers", "2")).stdout)


def test_what_a_killed_sweep_had_started_ends_by_itself(killed):
    assert len(killed) >= 6
    wait_until(lambda: not live(killed))


def test_a_killed_sweep_goes_on_where_it_was(project, resumed, find_all):
    assert {trial["name"] for trial in resumed["trials"]} == {"rates-0", "rates-1"}
    assert {trial["state"] for trial in resumed["trials"]} == {"finished"}
    # one run for each training, the killed ones too
    assert set(find_all()) == {"rates", "rates-0", "rates-1"}
    assert not list((project / ".tinyllm/sweeps/rates/copies").glob("*/"))
    assert not run_in(project, "git", "status", "--short").stdout


def test_points_do_not_depend_on_the_kill(resumed):
    rates = {t["name"]: t["params"]["train.learning_rate"] for t in resumed["trials"]}
    assert rates == {"rates-0": 0.008294, "rates-1": 0.003086}


def test_all_trials_are_children_of_one_run_that_tells_of_the_best(resumed, find_all):
    runs = find_all()
    parent = runs["rates"]
    for name in ("rates-0", "rates-1"):
        tags = runs[name].data.tags
        assert tags["mlflow.parentRunId"] == parent.info.run_id
        assert (tags["sweep"], tags["sweep.state"]) == ("rates", "finished")
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert resumed["best"]["name"] in parent.data.tags["mlflow.note.content"]
    best = min(t["val"] for t in resumed["trials"])
    assert resumed["best"]["val"] == best == parent.data.metrics["val_bits_per_character"]


def test_a_sweep_that_is_done_runs_nothing(project, resumed):
    again = json.loads(run_in(project, *sweep("--trials", "2")).stdout)
    assert again == resumed
    assert list(steps_in_journals(project).values()) == [STEPS, STEPS]


def test_a_name_belongs_to_one_search(project, resumed):
    other = sweep("--trials", "2", "-S", "train.max_steps=90")
    result = run_in(project, *other, check=False)
    assert result.returncode == 1
    assert "another --name" in result.stderr


@pytest.mark.exhaustive
def test_seeds_are_repeated_and_compared(project, resumed, find_all):
    rate = resumed["best"]["params"]["train.learning_rate"]
    repeat = ("tinyllm", "repeat", "--seeds", "2", "-S", f"train.learning_rate={rate}", "--json")
    report = json.loads(run_in(project, *repeat, "--workers", "2").stdout)
    # the first seed was trained by the sweep, and DVC only brings it back
    assert report["test"]["values"][0] == resumed["best"]["test"]
    assert report["test"]["standard_deviation"] > 0
    runs = find_all()
    assert len(runs) == 5
    sweep_id = runs["rates"].info.run_id
    assert runs[resumed["best"]["name"]].data.tags["mlflow.parentRunId"] == sweep_id
    new = runs[report["experiments"][1]]
    assert new.data.tags["mlflow.parentRunId"] == runs[report["name"]].info.run_id

    significance = ("tinyllm", "significance", resumed["best"]["name"])
    said = json.loads(run_in(project, *significance, new.info.run_id[:8], "--json").stdout)
    assert said["groups"][0] == said["groups"][1]
    assert sorted(said["groups"][0]["values"]) == pytest.approx(
        sorted(report["test"]["values"]), abs=1e-6
    )
    worse = next(t["name"] for t in resumed["trials"] if t != resumed["best"])
    text = run_in(project, *significance, worse).stdout
    assert "Nothing can be said: B ran with one seed only" in text


def test_the_best_is_taken_over_by_the_command_that_is_printed(project, resumed):
    table = run_in(project, *(word for word in sweep("--trials", "2") if word != "--json")).stdout
    assert resumed["apply"] in table
    assert all(trial["name"] in table for trial in resumed["trials"])
    done = run_in(project, *shlex.split(resumed["apply"])).stdout
    assert "Running stage 'train'" not in done
    assert "Running stage 'export'" in done
    rate = resumed["best"]["params"]["train.learning_rate"]
    assert f"learning_rate: {rate}" in (project / "params.yaml").read_text()
    metrics = json.loads((project / "reports/evaluate/metrics.json").read_text())
    assert metrics["bits_per_character"] == resumed["best"]["test"]
    run_in(project, "git", "checkout", "--quiet", "--", ".")


def test_more_cores_than_there_are_are_refused_before_any_work(project):
    result = run_in(project, *sweep("--workers", "1000", name="wide"), check=False)
    assert result.returncode == 2
    assert "1000 experiments at a time of 1 core each need 1000 cores" in result.stderr


@pytest.mark.exhaustive
def test_ctrl_c_stops_all_at_once(project, resumed, find_all):
    command = sweep("--trials", "2", "--workers", "2", "-S", "train.max_steps=400", name="stopped")
    code, found = end_in_the_middle(project, command, signal.SIGINT)
    assert code == 128 + signal.SIGINT
    # it has waited for them
    assert not live(found)
    assert not list((project / ".tinyllm/sweeps/stopped/copies").glob("*/"))
    status = {name: find_all()[name].info.status for name in ("stopped", "stopped-0", "stopped-1")}
    assert set(status.values()) == {"KILLED"}


@pytest.mark.exhaustive
def test_hopeless_and_divergent_trials_are_stopped(project, find_all):
    report = json.loads(run_in(project, *sweep("--trials", "5", name="pruned")).stdout)
    states = {trial["name"]: trial["state"] for trial in report["trials"]}
    assert states.pop("pruned-4") == "stopped"
    assert set(states.values()) == {"finished"}
    assert find_all()["pruned-4"].info.status == "KILLED"
    hot = ["tinyllm", "sweep", "-s", "train.learning_rate=[10.0]", "--trials", "1", "--json"]
    hot += ["-S", "train.embedding_learning_rate=10", "-S", "train.optimizer=adamw"]
    hot += ["-S", "train.gradient_clip=0", "--name", "hot"]
    (trial,) = json.loads(run_in(project, *hot).stdout)["trials"]
    assert trial["state"] in {"diverged", "finished"}
