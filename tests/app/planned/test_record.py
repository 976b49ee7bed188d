"""A plan in MLflow is a run of its own, with its picture, and in no table of trained runs."""

from pathlib import Path

import pytest

from tests.app.planned.plans import make_plan_by_hand
from tinyllm.app.config import TrackingConfig
from tinyllm.app.planned.record import record_plan, report_of
from tinyllm.app.tracking.queries import find_runs
from tinyllm.app.tracking.store import connect, tracking_uri
from tinyllm.base.errors import ConfigError
from tinyllm.planning.report import write_report
from tinyllm.planning.texts import TextFacts
from tinyllm.tokens.windows import load_token_data


@pytest.fixture(scope="module")
def plan(tokens):
    return make_plan_by_hand(TextFacts.of(load_token_data(tokens)))


@pytest.mark.medium
def test_a_plan_is_a_run_of_its_own_that_no_table_lists(plan, workspace):
    write_report(Path("reports/plan"), plan, report_of(plan))
    record_plan(plan, "a" * 32, TrackingConfig(), Path("reports/plan"), "A plan.")
    client = connect(tracking_uri())
    experiment = client.get_experiment_by_name("tinyllm").experiment_id
    (run,) = client.search_runs([experiment])
    assert run.info.status == "FINISHED"
    assert run.data.tags["tinyllm.parent"] == "plan"
    assert run.data.metrics["expected_val_loss"] == pytest.approx(plan.chosen.loss)
    assert run.data.params["train.max_steps"] == str(plan.recipe.training.max_steps)
    curve = client.get_metric_history(run.info.run_id, "trial_learning_rate")
    assert [point.value for point in curve] == [t.point["learning_rate"] for t in plan.trials]
    files = {file.path for file in client.list_artifacts(run.info.run_id, "plan")}
    assert files == {"plan/plan.json", "plan/rates.png"}
    assert find_runs("tinyllm") == []


def test_without_tracking_nothing_is_recorded(plan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record_plan(plan, "a" * 32, TrackingConfig(tracking=False), tmp_path, "A plan.")
    assert list(tmp_path.iterdir()) == []


def test_a_report_replaces_an_earlier_one_and_nothing_else(plan, tmp_path):
    untried = make_plan_by_hand(plan.text, tried=False)
    write_report(tmp_path / "plan", plan, report_of(plan))
    write_report(tmp_path / "plan", untried, report_of(untried))
    assert {file.name for file in (tmp_path / "plan").iterdir()} == {"plan.json"}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"notes\.txt"):
        write_report(tmp_path / "mine", plan, report_of(plan))
