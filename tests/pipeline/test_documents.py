"""Every runnable code block of README and docs runs, in a project whose pipeline has run."""

import pytest
import yaml

from tests.documents import RUN_HERE
from tests.pipeline.lost_experiment import lose_an_experiment
from tests.project import copy_made, run_in
from tests.queue_kill import queue, runs_in, wait_for_queue

pytestmark = pytest.mark.slow
# one format of the model, since every experiment exports
EXPORT = {"formats": ["pyfunc"], "verify_with": ["onnxruntime"]}


@pytest.fixture(scope="module")
def project(made_project, tmp_path_factory):
    folder = copy_made(made_project, tmp_path_factory.mktemp("documents") / "project")
    params = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    text = yaml.safe_dump({**params, "export": EXPORT})
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    run_in(folder, "git", "commit", "--quiet", "--all", "--message", "one form of the model")
    return folder


@pytest.mark.parametrize("block", RUN_HERE, ids=str)
def test_a_block_runs(project, run, block):
    run("git", "checkout", "--quiet", "--", ".")
    if block.language == "python":
        printed = run("python", "-c", block.text).stdout
        assert len(printed) > 100
        return
    text = block.text
    if "mine.txt" in text:
        own = project / "mine.txt"
        own.write_text("Once upon a midnight dreary, while I wandered.\n" * 400, encoding="utf-8")
    if "NAME" in text:
        text = text.replace("NAME", lose_an_experiment(project, run))
    printed = run("bash", "-euc", text).stdout
    assert len(printed) > 50
    wait_for_queue(project)
    assert "Running" not in queue(project).values()


def test_every_run_of_the_blocks_is_in_the_store_once(project):
    """Experiments, a queue of two workers, a sweep, repeated seeds, and what was lost."""
    runs = runs_in(project)
    lost = [run for run in runs if run.info.status == "KILLED"]
    assert [run.data.params["train.max_steps"] for run in lost] == ["3000"]
    whole = [run for run in runs if run not in lost]
    assert {run.info.status for run in whole} == {"FINISHED"}
    trained = [run for run in whole if "tinyllm.parent" not in run.data.tags]
    # a sweep, a repetition and a plan
    assert len(whole) - len(trained) == 3
    assert all("test_bits_per_character" in run.data.metrics for run in trained)
    rates = {run.data.params["train.learning_rate"] for run in trained}
    assert rates >= {"0.02", "0.01", "0.005", "0.03"}
    (own,) = (run for run in trained if run.data.params["prepare.source"] == "mine.txt")
    assert own.data.metrics["test_bits_per_character"] < 2.5
    names = [run.data.tags["tinyllm.fingerprint"] for run in runs]
    assert len(names) == len(set(names))
