"""`tinyllm runs` and `tinyllm compare` on a store with three runs."""

import json

import pytest
from click.testing import CliRunner

from tinyllm.app.cli import main
from tinyllm.app.tracking.queries import compare_runs, differing_params, find_run, find_runs
from tinyllm.app.tracking.store import connect, experiment_id
from tinyllm.base.errors import TinyLLMError

pytestmark = pytest.mark.medium

RUNS = {
    "slow": ({"train.learning_rate": "0.01", "export.formats": "a"}, 2.2, "WHAT news?"),
    "fast": ({"train.learning_rate": "0.03", "export.formats": "b"}, 2.0, "O, the sea."),
    "unfinished": ({"train.learning_rate": "0.05", "export.formats": "b"}, None, None),
}


@pytest.fixture
def ids(workspace):
    """Record the runs and return their ids by name."""
    client = connect()
    experiment = experiment_id(client, "tinyllm")
    made = {}
    for name, (params, bits, sample) in RUNS.items():
        run = client.create_run(experiment, run_name=name).info.run_id
        for key, value in (params | {"train.seed": "1"}).items():
            client.log_param(run, key, value)
        if bits is not None:
            client.log_metric(run, "test_bits_per_character", bits)
            client.log_metric(run, "best_val_loss", bits / 2)
            positions = f"context,bits\n1,{bits + 1}\n2,{bits}\n"
            client.log_text(run, positions, "evaluate/positions.csv")
            client.log_text(run, sample, "evaluate/samples.txt")
            client.set_terminated(run)
        made[name] = run
    return made


def tinyllm(*arguments):
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_best_run_comes_first_and_those_without_figures_last(ids):
    assert [run.name for run in find_runs("tinyllm")] == ["fast", "slow", "unfinished"]
    assert [run.name for run in find_runs("tinyllm", limit=1)] == ["fast"]


def test_a_filter_chooses_runs(ids):
    where = "params.`train.learning_rate` = '0.01'"
    assert [run.name for run in find_runs("tinyllm", where=where)] == ["slow"]


def test_a_filter_that_mlflow_refuses_costs_one_sentence(ids):
    with pytest.raises(TinyLLMError, match="does not answer that") as error:
        find_runs("tinyllm", where="learning rate is small")
    assert "\n" not in str(error.value)


def test_an_unknown_experiment_is_named(ids):
    with pytest.raises(TinyLLMError, match="no experiment 'nothing'"):
        find_runs("nothing")


def test_a_run_is_found_by_name_id_and_the_beginning_of_its_id(ids):
    for text in ("fast", ids["fast"], ids["fast"][:8]):
        assert find_run("tinyllm", text).run_id == ids["fast"]


@pytest.mark.parametrize("text", ["nobody", "", "f"])
def test_a_run_that_is_not_there_is_named(ids, text):
    with pytest.raises(TinyLLMError, match=f"no run '{text}'"):
        find_run("tinyllm", text)


def test_a_name_of_two_runs_is_not_guessed(ids):
    client = connect()
    client.create_run(experiment_id(client, "tinyllm"), run_name="fast")
    with pytest.raises(TinyLLMError, match=f"more than one run 'fast'.*{ids['fast'][:8]}"):
        find_run("tinyllm", "fast")


def test_only_params_that_differ_are_told_apart(ids):
    runs = find_runs("tinyllm")
    assert differing_params(runs) == ["export.formats", "train.learning_rate"]
    assert differing_params(runs[:1]) == []


def test_two_runs_side_by_side(ids):
    comparison = compare_runs(find_run("tinyllm", "slow"), find_run("tinyllm", "fast"))
    assert comparison.params["train.learning_rate"] == ("0.01", "0.03")
    assert "train.seed" not in comparison.params
    assert comparison.metrics["test_bits_per_character"] == (2.2, 2.0)
    assert comparison.positions == {"1": (3.2, 3.0), "2": (2.2, 2.0)}
    assert comparison.samples == ("WHAT news?", "O, the sea.")


def test_a_run_that_was_not_evaluated_has_nothing_to_show(ids):
    comparison = compare_runs(find_run("tinyllm", "fast"), find_run("tinyllm", "unfinished"))
    assert comparison.metrics["best_val_loss"] == (1.0, None)
    assert comparison.positions == {"1": (3.0, None), "2": (2.0, None)}
    assert comparison.samples == ("O, the sea.", "")


def test_runs_prints_a_table(ids):
    lines = tinyllm("runs").splitlines()
    assert lines[0].split() == [
        *["id", "run", "status", "started", "bits/char", "val", "bits/char", "learning_rate"],
    ]
    assert [line.split()[1] for line in lines[1:]] == ["fast", "slow", "unfinished"]
    assert "2.0000" in lines[1]
    assert "0.03" in lines[1]


def test_both_speak_json(ids):
    assert [run["run_id"] for run in json.loads(tinyllm("runs", "--json"))] == [
        ids["fast"],
        ids["slow"],
        ids["unfinished"],
    ]
    comparison = json.loads(tinyllm("compare", "slow", "fast", "--json"))
    assert comparison["positions"]["2"] == [2.2, 2.0]


def test_compare_prints_what_differs(ids):
    shown = tinyllm("compare", "slow", "fast")
    for word in ("train.learning_rate", "0.01", "0.03", "-0.2", "WHAT news?", "O, the sea."):
        assert word in shown
    assert "train.seed" not in shown


@pytest.mark.parametrize(
    ("name", "context", "found"),
    [("mine.txt", "train", ("mine.txt", "d" * 8)), ("train", "training", ("train", "d" * 8))],
    ids=["of this version", "of an earlier one, named after the split"],
)
def test_a_run_knows_its_data_by_split(ids, name, context, found):
    from mlflow.entities import Dataset, DatasetInput, InputTag

    data = Dataset(name, "d" * 8, "code", "{}")
    tags = [InputTag("mlflow.data.context", context), InputTag("purpose", "training")]
    connect().log_inputs(ids["fast"], [DatasetInput(data, tags)])
    assert find_run("tinyllm", "fast").data == {"train": found}
