"""The view that MLflow's page opens on, kept in tags of the experiment."""

import json

import pytest

from tests.app.tracking.conftest import export
from tinyllm.app.tracking.champion import promote, roll_back
from tinyllm.app.tracking.store import connect, experiment_id
from tinyllm.app.tracking.view import KEY, VIEW_TAG, keep_view, page_of

pytestmark = pytest.mark.medium


@pytest.fixture
def experiment(workspace):
    return experiment_id(connect(), "tinyllm")


def tags(experiment):
    return connect().get_experiment(experiment).tags


def state(experiment):
    return json.loads(json.loads(tags(experiment)[VIEW_TAG])["state"])


def add_run(experiment, **params):
    client = connect()
    run = client.create_run(experiment).info.run_id
    for key, value in params.items():
        client.log_param(run, key.replace("__", "."), value)
    keep_view(client, experiment)
    return run


def params_in(state):
    return [name for name in state["selectedColumns"] if name.startswith("params.")]


def test_an_experiment_is_for_models_from_the_beginning(experiment):
    assert tags(experiment)["mlflow.experimentKind"] == "custom_model_development"


def test_the_view_follows_the_parameters_in_which_runs_differ(experiment):
    add_run(experiment, train__seed="1", train__optimizer="muon", export__formats="a")
    assert params_in(state(experiment)) == []
    add_run(experiment, train__seed="2", train__optimizer="muon", export__formats="b")
    assert params_in(state(experiment)) == ["params.`train.seed`"]
    add_run(experiment, train__seed="2", train__optimizer="adamw", export__formats="b")
    seen = state(experiment)
    assert params_in(seen) == ["params.`train.optimizer`", "params.`train.seed`"]
    (parallel,) = [chart for chart in seen["compareRunCharts"] if chart["type"] == "PARALLEL"]
    assert parallel["selectedParams"] == ["train.optimizer", "train.seed"]


def test_the_view_sorts_by_the_test_loss_and_is_no_larger_than_mlflow_takes(experiment):
    for number in range(2):
        add_run(experiment, **{f"train__{'p' * 200}{key}": str(number) for key in range(60)})
    seen = state(experiment)
    assert (seen["orderByKey"], seen["orderByAsc"]) == ("metrics.`test_bits_per_character`", True)
    assert len(params_in(seen)) == 10
    assert len(tags(experiment)[VIEW_TAG]) < 20_000


def test_a_view_that_somebody_changed_stays_as_it_is(experiment):
    add_run(experiment, train__seed="1")
    own = json.loads(tags(experiment)[VIEW_TAG])
    # as MLflow's page writes it
    own = {key: own[key] for key in ("name", "createdAt", "updatedAt")} | {"state": "{}"}
    connect().set_experiment_tag(experiment, VIEW_TAG, json.dumps(own))
    add_run(experiment, train__seed="2")
    assert json.loads(tags(experiment)[VIEW_TAG]) == own


def test_a_view_that_somebody_deleted_stays_deleted(experiment):
    add_run(experiment, train__seed="1")
    connect().delete_experiment_tag(experiment, VIEW_TAG)
    add_run(experiment, train__seed="2")
    assert VIEW_TAG not in tags(experiment)


@pytest.mark.parametrize("value", ["", "[]", "null", "no JSON", '{"state": 7}'])
def test_what_is_no_view_is_somebodys_too(experiment, value):
    connect().set_experiment_tag(experiment, VIEW_TAG, value)
    add_run(experiment, train__seed="2")
    assert tags(experiment)[VIEW_TAG] == value


def test_an_experiment_of_an_earlier_version_gets_the_view(workspace):
    client = connect()
    old = client.create_experiment("old")
    add_run(old, train__seed="1")
    assert tags(old)["mlflow.experimentKind"] == "custom_model_development"
    assert VIEW_TAG in tags(old)


def test_the_page_names_experiment_and_view(experiment):
    assert page_of(experiment).startswith(f"#/experiments/{experiment}/runs?")
    assert page_of(experiment).endswith(f"viewStateShareKey={KEY}")


def marked(store):
    runs = store.client.search_runs([store.experiment])
    return {run.info.run_id: run.data.tags.get("champion") for run in runs}


def test_the_champions_run_is_tagged_and_no_other(store):
    first = store.run_id
    export(store, "a", 2.0)
    assert marked(store) == {first: "tinyllm v1"}
    store.run_id = second = store.client.create_run(store.experiment).info.run_id
    export(store, "b", 1.9)
    assert marked(store) == {first: None, second: "tinyllm v2"}
    roll_back(store.client, "tinyllm")
    assert marked(store) == {first: "tinyllm v1", second: None}
    promote(store.client, "tinyllm", 2, 0.0, force=True)
    assert marked(store) == {first: None, second: "tinyllm v2"}


def test_a_champion_whose_run_was_deleted_costs_nothing(store):
    export(store, "a", 2.0)
    first = store.run_id
    store.run_id = store.client.create_run(store.experiment).info.run_id
    store.client.delete_run(first)
    export(store, "b", 1.9)
    assert marked(store) == {store.run_id: "tinyllm v2"}
