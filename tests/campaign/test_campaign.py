"""Every case of the campaign is a test."""

import pytest

from tests.campaign.case import Case, all_cases
from tests.campaign.world import World


def _marked(case: Case) -> object:
    return pytest.param(
        case, id=case.name, marks=pytest.mark.slow if case.slow else pytest.mark.medium
    )


@pytest.mark.parametrize("case", [_marked(case) for case in all_cases().values()])
def test_campaign(case, tmp_path, request):
    """What must be true is true."""
    case.check(World(tmp_path, lambda: request.getfixturevalue("made_project")))
