"""The law: what it learns from runs, and that the one in the package belongs to its terms."""

import json
import math

import numpy as np
import pytest

from benchmarks.scaling.fit import expected, reached, read_runs
from tests.conftest import ROOT
from tests.planning.conftest import TEXT
from tinyllm.base.errors import TinyLLMError
from tinyllm.planning.draw import around, usual
from tinyllm.planning.law import _NOISES, FITTED, Law, error_of
from tinyllm.planning.points import pick
from tinyllm.planning.terms import TERMS, term_values

ROWS = read_runs(ROOT / "benchmarks/scaling/runs.csv")
STEPS = np.geomspace(150, 3000, 120)
POINTS = around(usual(np.geomspace(1e11, 1e13, 120), 1e6), np.random.default_rng(5))


def made_rows(coefficients, random):
    """Runs of six texts whose losses follow a law exactly, but for each text's own factor."""
    factors = np.exp(0.05 * random.standard_normal(6))
    terms = term_values(TEXT, POINTS, STEPS)
    losses = TEXT.anchor * np.exp(terms @ coefficients)
    return [
        {
            "text": f"text {index % 6}",
            **TEXT.to_dict(),
            **pick(POINTS, index),
            "steps": STEPS[index],
            "loss": losses[index] * factors[index % 6],
        }
        for index in range(len(STEPS))
    ]


@pytest.fixture(scope="module")
def truth():
    """Coefficients as far from the expected ones as such things are."""
    random = np.random.default_rng(7)
    return np.array([mean + sd * random.standard_normal() for _, mean, sd in TERMS.values()])


def test_a_fit_finds_the_law_that_the_runs_follow(truth):
    rows = made_rows(truth, np.random.default_rng(1))
    law = Law.fit(rows)
    other = around(usual(np.geomspace(1e11, 1e13, 50), 1e6), np.random.default_rng(8))
    steps = np.geomspace(200, 2500, 50)
    expected, ratio = law.predict(TEXT, other, steps)
    reached = TEXT.anchor * np.exp(term_values(TEXT, other, steps) @ truth)
    mean, largest = error_of(expected, reached)
    assert mean < 0.05
    assert largest < 4 * ratio.max()
    assert law.noise == min(_NOISES)


def test_runs_of_a_text_teach_its_factor_and_narrow_what_is_expected(truth):
    law = Law.fit(made_rows(truth, np.random.default_rng(1)))
    before, unsure = law.predict(TEXT, POINTS, STEPS)
    some = {name: values[:4] for name, values in POINTS.items()}
    taught = law.learn(TEXT, some, STEPS[:4], before[:4] * 1.2)
    after, surer = taught.predict(TEXT, POINTS, STEPS)
    assert np.allclose(after[:4], before[:4] * 1.2, rtol=0.04)
    assert error_of(after, before)[0] == pytest.approx(math.log(1.2), abs=0.05)
    assert surer.mean() < unsure.mean()


def test_a_law_is_the_same_after_it_was_written(tmp_path):
    law = Law.load()
    (tmp_path / "law.json").write_text(law.to_json())
    again = Law.load(tmp_path / "law.json")
    assert np.array_equal(again.mean, law.mean)
    assert again.to_json() == law.to_json() == FITTED.read_text(encoding="utf-8")


def test_a_law_of_other_terms_is_refused_with_the_command_that_helps(tmp_path):
    found = json.loads(FITTED.read_text(encoding="utf-8"))
    found["terms"][3] = "weather"
    (tmp_path / "law.json").write_text(json.dumps(found))
    with pytest.raises(TinyLLMError, match=r"other terms .* 'python benchmarks/scaling/fit\.py'"):
        Law.load(tmp_path / "law.json")


def test_the_law_in_the_package_is_the_fit_of_the_runs_in_the_repository():
    fitted, shipped = Law.fit(ROWS), Law.load()
    # the last digits depend on the CPU
    assert np.allclose(fitted.mean, shipped.mean, rtol=1e-3, atol=1e-5)
    assert (fitted.noise, fitted.offset, fitted.variety) == (
        shipped.noise,
        shipped.offset,
        shipped.variety,
    )


def test_the_law_knows_texts_that_it_was_not_fitted_to_within_a_tenth():
    texts = sorted({row["text"] for row in ROWS})
    assert len(texts) >= 8
    off = []
    for text in texts:
        law = Law.fit([row for row in ROWS if row["text"] != text])
        own = [row for row in ROWS if row["text"] == text]
        off += list(np.log(expected(law, own) / reached(own)))
    assert np.median(np.abs(off)) < 0.1


def test_runs_far_from_all_that_were_measured_are_not_within():
    usual_one = usual([1e12], 5e5)
    assert Law.load().is_within(TEXT, usual_one, [800]).all()
    strange = {**usual_one, "weight_decay": np.array([50.0])}
    assert not Law.load().is_within(TEXT, strange, [800]).any()
