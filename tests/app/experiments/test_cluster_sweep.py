"""Sweeps on a cluster of two real nodes give what they give here, also when a node is lost."""

import json
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.app.experiments.test_sweep import end_in_the_middle, steps_in_journals, sweep, trains
from tests.project import clean_environment, run_in
from tests.queue_kill import runs_in
from tests.ray_nodes import two_nodes
from tests.waiting import live, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]

PAIR = ("--trials", "4", "--workers", "2")
ON_RAY = ("-S", "runtime.engine=ray")


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    with two_nodes(tmp_path_factory.mktemp("cluster")) as found:
        yield found


@pytest.fixture
def copy(project, tmp_path) -> Path:
    """A project of its own, with nothing in its cache that an experiment has made."""
    return shutil.copytree(project, tmp_path / "project", symlinks=True)


def trees(project: Path) -> dict[str, str]:
    """What each experiment has left in git, by name."""
    listed = run_in(project, "git", "for-each-ref", "--format=%(refname)", "refs/exps").stdout
    names = [name for name in listed.split() if "/exec/" not in name]
    found = (run_in(project, "git", "rev-parse", f"{name}^{{tree}}").stdout for name in names)
    return dict(zip((name.rpartition("/")[2] for name in names), found, strict=True))


@pytest.fixture(scope="module")
def here(project, tmp_path_factory) -> tuple[dict, dict[str, str]]:
    """What the sweep reports and leaves on this machine."""
    folder = shutil.copytree(project, tmp_path_factory.mktemp("here") / "project", symlinks=True)
    return json.loads(run_in(folder, *sweep(*PAIR)).stdout), trees(folder)


def test_a_sweep_there_reports_and_leaves_what_it_does_here(nodes, here, copy):
    report = json.loads(run_in(copy, *sweep(*PAIR, *ON_RAY)).stdout)
    assert report == here[0]
    assert trees(copy) == here[1]
    runs = {run.info.run_name.partition(" ")[0]: run for run in runs_in(copy)}
    assert set(runs) == {"rates", *(f"rates-{number}" for number in range(4))}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    parent = runs.pop("rates").info.run_id
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent}
    assert all("test_bits_per_character" in run.data.metrics for run in runs.values())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_or_killed_sweep_leaves_no_processes(nodes, copy, number):
    code, found = end_in_the_middle(copy, sweep(*PAIR, *ON_RAY), number)
    if number == signal.SIGINT:
        assert code == 128 + signal.SIGINT
        assert not live(found)
    wait_until(lambda: not live(found))


def test_a_lost_node_costs_only_its_trial_which_runs_elsewhere(nodes, here, copy):
    """The last test: it leaves one node."""
    before = steps_in_journals(copy)
    process = subprocess.Popen(
        sweep(*PAIR, *ON_RAY), cwd=copy, env=clean_environment(), stdout=subprocess.PIPE, text=True
    )
    wait_until(lambda: process.poll() is not None or trains(copy, before), between=0.02)
    nodes[1].kill()
    report = json.loads(process.communicate()[0])
    assert report["trials"] == here[0]["trials"]
    assert trees(copy) == here[1]
