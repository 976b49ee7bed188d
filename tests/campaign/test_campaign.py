"""Every case of the campaign is a test.

CI runs those that take seconds, and of the tables of cases that are alike every sixth; once a week,
and by `make campaign` and `make prove`, all are run.
"""

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.campaign.case import all_cases
from tests.campaign.world import World

_EVERY = 6


def _marked() -> Iterator[object]:
    seen: Counter[object] = Counter()
    for case in all_cases().values():
        # the cases of a table share their code
        alike = case.check.__code__
        often = seen[alike] % _EVERY == 0 and not case.slow
        seen[alike] += 1
        mark = pytest.mark.slow if often else pytest.mark.exhaustive
        yield pytest.param(case, id=case.name, marks=mark)


@pytest.mark.parametrize("case", _marked())
def test_campaign(case, tmp_path, request):
    """What must be true is true."""
    case.check(World(tmp_path, lambda: request.getfixturevalue("made_project")))
