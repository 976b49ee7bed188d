"""Every case of the campaign is a test.

CI runs every fourth of those that take seconds; once a week, and by `make campaign` and
`make prove`, all are run.
"""

from collections.abc import Iterator

import pytest

from tests.campaign.case import all_cases
from tests.campaign.world import World

_EVERY = 4


def _marked() -> Iterator[object]:
    cases = all_cases().values()
    often = [case for case in cases if not case.slow][::_EVERY]
    for case in cases:
        mark = pytest.mark.slow if case in often else pytest.mark.exhaustive
        yield pytest.param(case, id=case.name, marks=mark)


@pytest.mark.parametrize("case", _marked())
def test_campaign(case, tmp_path, request):
    """What must be true is true."""
    case.check(World(tmp_path, lambda: request.getfixturevalue("made_project")))
