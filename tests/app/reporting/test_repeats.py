"""Losses of a commit's runs with other seeds, out of a real store."""

import pytest
from mlflow.entities import Metric, Param

from tests.project import run_in
from tinyllm.app.params import flatten, parse_params
from tinyllm.app.reporting.repeats import repeated_losses
from tinyllm.app.reporting.revision import find_revision
from tinyllm.app.tracking.store import connect, experiment_id

PARAMS = "train: {learning_rate: 0.02, seed: 3}\nmodel: {dropout: 0.1}\n"
LOSS = "test_bits_per_character"


@pytest.fixture
def base(workspace):
    """A commit that holds PARAMS; the working tree holds others."""
    params = workspace / "params.yaml"
    params.write_text(PARAMS, encoding="utf-8")
    run_in(workspace, "git", "init", "--quiet")
    run_in(workspace, "git", "add", "params.yaml")
    run_in(workspace, "git", "commit", "--quiet", "--message", "parameters")
    params.write_text("train: {learning_rate: 0.5}\n", encoding="utf-8")
    return find_revision(workspace, "HEAD")


@pytest.fixture
def record(workspace):
    """Record a run of the commit with changes, as the tracker names its parameters."""
    client = connect()
    experiment = experiment_id(client, "tinyllm")

    def make(bits: float | None = None, **changes: object) -> None:
        run = client.create_run(experiment).info.run_id
        params = flatten(parse_params(PARAMS, "params.yaml"))
        params |= {key.replace("__", "."): value for key, value in changes.items()}
        metrics = [] if bits is None else [Metric(LOSS, bits, 0, 0)]
        client.log_batch(run, metrics, [Param(key, str(value)) for key, value in params.items()])
        client.set_terminated(run)

    return make


def test_runs_that_differ_by_the_seed_count_a_seed_once(base, record):
    record(2.02, train__seed=12)
    record(2.01, train__seed=5)
    record(2.00)
    record(2.00)
    assert repeated_losses(base) == [2.00, 2.01, 2.02]


def test_what_decides_nothing_about_the_loss_may_differ(base, record):
    record(2.00)
    record(2.01, train__seed=4, evaluate__sample_length=7, display__log_interval=3)
    assert repeated_losses(base) == [2.00, 2.01]


@pytest.mark.parametrize(
    "change",
    [
        {"train__learning_rate": 0.5},
        {"model__dropout": 0.0},
        {"prepare__source": "elsewhere.txt"},
        {"tokenize__min_count": 9},
        {"numerics__mode": "fast"},
    ],
)
def test_another_run_does_not_count(base, record, change):
    record(2.00)
    record(1.50, train__seed=4, **change)
    assert repeated_losses(base) == [2.00]


def test_a_run_without_the_figure_or_the_parameters_does_not_count(base, record, workspace):
    record(None, train__seed=4)
    client = connect()
    parent = client.create_run(experiment_id(client, "tinyllm")).info.run_id
    client.log_metric(parent, LOSS, 1.9)
    record(2.00)
    assert repeated_losses(base) == [2.00]


def test_without_a_store_there_are_none_and_none_is_made(base, workspace):
    (workspace / "mlflow.db").unlink()
    assert repeated_losses(base) == []
    assert not (workspace / "mlflow.db").exists()


def test_parameters_of_another_version_are_none_to_compare_with(base, record, workspace):
    record(2.00)
    (workspace / "params.yaml").write_text("training: {rate: 1}\n", encoding="utf-8")
    run_in(workspace, "git", "commit", "--quiet", "--all", "--message", "other sections")
    assert repeated_losses(find_revision(workspace, "HEAD")) == []
