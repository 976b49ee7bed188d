"""A real server behind a real proxy, and runs that outlive what happens to it."""

import pytest

from tests.conftest import SMALL_MODEL, SMALL_TRAINING
from tests.faults import train_through
from tests.mlflow_server import MLflowServer
from tinyllm.app.config import DisplayConfig
from tinyllm.kernels.config import NumericsConfig

pytestmark = pytest.mark.slow
STEPS = 200
TRAINING = SMALL_TRAINING.model_copy(update={"max_steps": STEPS, "eval_interval": 100})
SECTIONS = {
    "model": SMALL_MODEL,
    "numerics": NumericsConfig(threads=1),
    "display": DisplayConfig(log_interval=1, progress=False),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory, empty_store):
    running = MLflowServer(tmp_path_factory.mktemp("team") / "server", empty_store)
    running.start()
    yield running
    running.kill()


# the seed tells the runs apart
@pytest.mark.parametrize(
    ("seed", "fault"), enumerate(["killed at 30 %, restarted at 60 %", "answers lost"])
)
def test_a_run_outlives_its_server_and_sync_completes_it(seed, fault, tmp_path, tokens, server):
    sections = {**SECTIONS, "train": TRAINING.model_copy(update={"seed": seed})}
    outcome = train_through(fault, tmp_path / "work", tokens, sections, server)
    assert outcome.exit_code == 0
    # the folder is in no repository, which is told, too
    of_store = [line for line in outcome.warnings if "names no commit" not in line]
    assert len(of_store) <= 1, of_store
    if of_store:
        assert "tinyllm sync" in of_store[0]
    assert outcome.sync_code == 0
    assert outcome.expected >= 4 * STEPS
    assert outcome.present == outcome.expected
    assert outcome.duplicates == 0
    assert outcome.faults == []
