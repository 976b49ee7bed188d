"""A real server behind a real proxy, and trainings that outlive what happens to it."""

import pytest

from tests.conftest import SMALL_MODEL, SMALL_TRAINING
from tests.faults import train_through
from tests.mlflow_server import MLflowServer
from tinyllm.app.config import DisplayConfig
from tinyllm.kernels.config import NumericsConfig

pytestmark = pytest.mark.slow
STEPS = 400
SECTIONS = {
    "model": SMALL_MODEL,
    "train": SMALL_TRAINING.model_copy(update={"max_steps": STEPS, "eval_interval": 100}),
    "numerics": NumericsConfig(threads=1),
    "display": DisplayConfig(log_interval=1, progress=False),
}


@pytest.fixture
def server(tmp_path, empty_store):
    running = MLflowServer(tmp_path / "server", empty_store)
    running.start()
    yield running
    running.kill()


@pytest.mark.parametrize("fault", ["killed at 30 %, restarted at 60 %", "answers lost"])
def test_a_training_outlives_its_server_and_sync_completes_the_run(fault, tmp_path, tokens, server):
    outcome = train_through(fault, tmp_path / "work", tokens, SECTIONS, server)
    assert outcome.exit_code == 0
    assert len(outcome.warnings) <= 1, outcome.warnings
    if outcome.warnings:
        assert "tinyllm sync" in outcome.warnings[0]
    assert outcome.sync_code == 0
    assert outcome.expected >= 4 * STEPS
    assert outcome.present == outcome.expected
    assert outcome.duplicates == 0
    assert outcome.faults == []
