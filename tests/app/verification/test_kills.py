"""A killed pipeline goes on and ends with the same bytes; `python -m tests.kills` does more."""

import pytest

from tests.kills import WAYS, kill_once
from tests.project import make_project

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The project after an undisturbed run."""
    return make_project(tmp_path_factory.mktemp("killed"))


@pytest.mark.parametrize(("way", "after"), [("kill -9 group", 6.0), ("kill -9 dvc", 5.0)])
def test_a_killed_pipeline_ends_with_the_same_bytes(project, way, after):
    assert way in WAYS
    outcome = kill_once(project, way, after)
    assert outcome.stage != "finished"
    assert outcome.same, str(outcome)
