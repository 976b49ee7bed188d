"""The registry's tags are anybody's to write; what tells nothing is left out."""

from types import SimpleNamespace

import pytest

from tinyllm.app.tracking.champion import BITS_TAG, SPLIT_TAG, figures
from tinyllm.app.tracking.succession import Promotion, promotion_tag, promotions

EVENT = Promotion("2026-11-25T10:00:00.000000+00:00", 2, 1, "promote", "better")
TIME = "promoted.20261125T110000.000000Z"
WHOLE = '{"before": 1, "action": "promote", "why": "w"}'


def version(tags, number="2"):
    return SimpleNamespace(version=number, tags=tags)


def test_a_promotion_is_read_as_it_was_written():
    assert promotions([version(dict([promotion_tag(EVENT)]))]) == [EVENT]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("promoted.", WHOLE),
        ("promoted.yesterday", WHOLE),
        (TIME, ""),
        (TIME, "null"),
        (TIME, "[1]"),
        (TIME, "[" * 5000),
        (TIME, "{}"),
        (TIME, '{"before": "1", "action": "promote", "why": "w"}'),
        (TIME, '{"before": 1, "action": null, "why": "w"}'),
    ],
)
def test_a_damaged_promotion_is_left_out_and_the_others_stay(key, value, caplog):
    found = promotions([version({key: value}, "1"), version(dict([promotion_tag(EVENT)]))])
    assert found == [EVENT]
    assert f"The tag {key!r} of version 1 is damaged." in caplog.text


@pytest.mark.parametrize("damaged", ["", "two", "nan", "inf", "-inf"])
def test_a_figure_that_is_no_number_counts_as_none(damaged):
    tags = {SPLIT_TAG: "a", BITS_TAG: damaged, "judged.b": "2.5", "judged.c": damaged}
    assert figures(version(tags)) == {"b": 2.5}
