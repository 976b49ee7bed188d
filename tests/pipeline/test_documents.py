"""Every runnable code block of README and docs runs, in a project whose pipeline has run."""

import pytest
from tests.pipeline.lost_experiment import lose_an_experiment

from tests.documents import RUN_HERE
from tests.queue_kill import queue, wait_for_queue

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("block", RUN_HERE, ids=str)
def test_a_block_runs(project, run, block):
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
