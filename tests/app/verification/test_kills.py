"""A killed pipeline goes on and ends with the same bytes; `python -m tests.kills` does more."""

import pytest

from tests.kills import WAYS, kill_once
from tests.project import copy_made

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]


@pytest.fixture(scope="module")
def project(made_project, tmp_path_factory):
    """The project after an undisturbed run."""
    return copy_made(made_project, tmp_path_factory.mktemp("killed") / "project")


@pytest.mark.parametrize(
    ("way", "stage"), [("kill -9 group", "train"), ("kill -9 dvc", "evaluate")]
)
def test_a_killed_pipeline_ends_with_the_same_bytes(project, way, stage):
    assert way in WAYS
    outcome = kill_once(project, way, 1.0, stage)
    assert outcome.stage != "finished"
    assert outcome.same, str(outcome)
