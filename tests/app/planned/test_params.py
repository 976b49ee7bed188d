"""The params.yaml of a plan: explicit, with reasons, and with everything else as it was."""

import re

import pytest
import yaml

from tests.app.planned.plans import make_plan_by_hand
from tests.conftest import ROOT
from tinyllm.app.params import load_params
from tinyllm.app.planned.params import PLANNED, write_plan
from tinyllm.app.planned.reasons import duration, expectations, reasons_for
from tinyllm.app.planned.sources import Source
from tinyllm.base.errors import TinyLLMError
from tinyllm.planning.texts import TextFacts
from tinyllm.tokens.meta import read_meta
from tinyllm.tokens.windows import load_token_data

PARAMS = ROOT / "params.yaml"


@pytest.fixture(scope="module")
def plan(tokens):
    return make_plan_by_hand(TextFacts.of(load_token_data(tokens)))


def written(plan, base, **own):
    return write_plan(plan, reasons_for(plan), ["It is expected to end."], base, own)


def test_every_parameter_is_named_and_the_file_loads(plan, tmp_path):
    (tmp_path / "params.yaml").write_text(written(plan, None), encoding="utf-8")
    sections = load_params(tmp_path / "params.yaml")
    assert {**sections, **plan.recipe.sections()} == sections
    raw = yaml.safe_load(written(plan, None))
    assert set(raw) == {"model", "train", "numerics"}
    assert set(raw["train"]) == set(type(plan.recipe.training).model_fields)


def test_the_other_sections_stay_as_they_are_written(plan, tmp_path):
    text = written(plan, PARAMS)
    original = PARAMS.read_text(encoding="utf-8")
    for section in ("prepare", "tokenize", "evaluate", "export", "serve"):
        (block,) = re.findall(rf"^{section}:.*\n(?: .*\n)*", original, re.MULTILINE)
        assert block.rstrip() in text
    (tmp_path / "planned.yaml").write_text(text, encoding="utf-8")
    assert {**load_params(PARAMS), **plan.recipe.sections()} == load_params(
        tmp_path / "planned.yaml"
    )


def test_a_plan_of_a_plan_is_written_like_the_first(plan, tmp_path):
    first = written(plan, PARAMS)
    (tmp_path / "first.yaml").write_text(first, encoding="utf-8")
    assert written(plan, tmp_path / "first.yaml") == first


def test_a_text_that_was_given_takes_the_place_of_the_one_in_the_file(plan):
    source = Source.of(PARAMS, "mine.txt", None)
    text = written(plan, PARAMS, **source.own)
    assert yaml.safe_load(text)["prepare"]["source"] == "mine.txt"
    assert yaml.safe_load(text)["evaluate"] == yaml.safe_load(PARAMS.read_text())["evaluate"]


def test_a_file_that_cannot_be_taken_apart_is_refused(plan, tmp_path):
    base = tmp_path / "params.yaml"
    base.write_text("{prepare: {source: mine.txt}, evaluate: {split: val}}", encoding="utf-8")
    with pytest.raises(TinyLLMError, match="cannot be kept as they are written; write each on"):
        written(plan, base)


def test_choices_say_what_others_would_cost(plan):
    text = written(plan, None)
    assert re.search(r"^  batch_size: \d+ +# 0\.5: \+2\.0%$", text, re.MULTILINE)
    assert re.search(r"^  max_steps: \d+ +# \S+ ms each; the text ", text, re.MULTILINE)
    assert re.search(r"^  learning_rate: .*\(after \d short runs\)$", text, re.MULTILINE)
    assert all(len(line) <= 100 for line in text.splitlines())


def test_only_a_file_that_begins_like_a_plan_may_be_replaced(plan, tmp_path):
    (tmp_path / "planned.yaml").write_text(written(plan, None), encoding="utf-8")
    assert PLANNED.objection(tmp_path / "planned.yaml") is None
    assert "was not written by 'tinyllm plan'" in str(PLANNED.objection(PARAMS))


def test_expectations_are_in_nats_and_bits_and_seconds(plan, tokens):
    expected, spent = expectations(plan, read_meta(tokens))
    assert f"{plan.chosen.loss:.3f} nats per token" in expected
    assert (
        f"{read_meta(tokens).splits.val.bits_per_character(plan.chosen.loss):.3f} bits" in expected
    )
    assert spent.startswith("The train stage takes about 28 seconds, 7.2 s of it to start")
    assert "512 MB" in spent


def test_times_are_told_in_units_that_people_use():
    assert [duration(s) for s in (59.6, 600, 9000)] == ["60 seconds", "10.0 minutes", "2.5 hours"]
