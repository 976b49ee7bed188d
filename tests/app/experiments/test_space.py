"""What a sweep may draw from, and what is refused with a sentence."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from dvc.utils.cli_parse import to_path_overrides
from dvc.utils.hydra import apply_overrides
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyllm.app.experiments.space import check_point, override, parse_axis, parse_space
from tinyllm.app.params import SECTIONS
from tinyllm.base.errors import ConfigError
from tinyllm.base.params_file import read_params

DEFAULTS = {name: section().model_dump() for name, section in SECTIONS.items()}


def draws(text: str, count: int = 60) -> list:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    axis = parse_axis(text)
    return [axis.draw(study.ask()) for _ in range(count)]


def test_a_log_range_is_drawn_by_orders_of_magnitude_within_its_bounds():
    values = draws("train.learning_rate=log(0.001,0.1)", 200)
    assert min(values) >= 0.001
    assert max(values) <= 0.1
    # half of it lies below the geometric mean; drawn evenly it would be a tenth
    assert 70 < sum(value < 0.01 for value in values) < 130


def test_a_drawn_number_is_short_enough_to_be_typed():
    assert all(len(f"{value:.10g}") <= 9 for value in draws("train.learning_rate=log(0.001,0.1)"))


def test_whole_numbers_stay_whole_and_keep_their_step():
    assert set(draws("model.d_model=uniform(64,128,32)")) == {64, 96, 128}
    assert {type(value) for value in draws("model.num_layers=uniform(1,4)")} == {int}
    assert set(draws("model.num_layers=log(1,3)")) == {1, 2, 3}


def test_choices_keep_their_types():
    assert set(draws("train.decay=[linear, cosine]")) == {"linear", "cosine"}
    assert set(draws("model.tie_embeddings=[true, false]")) == {True, False}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train.learning_rate", "is no search space"),
        ("train.learning_rate=0.1", "is no search space"),
        ("train.learning_rate=log(0.1,0.01)", "0.1 is not less than 0.01"),
        ("train.learning_rate=log(0,1)", "above 0"),
        ("train.learning_rate=log(0.1,99)", "less than or equal to 10"),
        ("train.learning_rate=uniform(a,b)", "must be numbers"),
        ("train.learning_rate=uniform(0.1,0.2,0)", "step must be above 0"),
        ("train.lerning_rate=log(0.1,1)", "did you mean train.learning_rate?"),
        ("train.seed=[1,2]", "tinyllm repeat"),
        ("prepare.val_fraction=[0.1,0.2]", "only model and train"),
        ("model.d_model=uniform(1.5,2.5)", "whole number"),
        ("train.decay=uniform(1,2)", "not a number"),
        ("train.decay=[straight]", "linear"),
        ("model.num_layers=[]", "no list of choices"),
    ],
)
def test_what_cannot_be_searched_is_refused(text, said):
    with pytest.raises(ConfigError, match=said.replace("?", r"\?").replace(".", r"\.")):
        parse_axis(text)


def test_a_parameter_has_one_search_space():
    with pytest.raises(ConfigError, match=r"model\.num_layers is given more than one"):
        parse_space(["model.num_layers=[1,2]", "model.num_layers=uniform(1,4)"])


def test_a_point_is_checked_together_with_the_other_parameters():
    check_point(DEFAULTS, {"model.d_model": 64})
    with pytest.raises(ConfigError, match="num_heads"):
        check_point(DEFAULTS, {"model.num_heads": 3})


def test_an_override_is_what_dvc_takes():
    assert override("model.tie_embeddings", value=True) == "++model.tie_embeddings=true"
    assert override("train.learning_rate", 0.01) == "++train.learning_rate=0.01"


NASTY = [
    *["Война и мир.txt", "a b", "it's", '"x"', "a,b", "[a]", "{a:b}", "a=b", "a:b", "~a", "+a"],
    *["", "\\", "a\\", "a\\'b", "\\\\'", "'\\", "''", "${x}", "\\${x}", "a\\\\${x}", "x\\${", "}"],
    *["null", "True", "1e3", "012", "nan", "#x", "a #b", "%", "@", "!x", "&x", "*x", "- x", "|"],
    *[
        "a\nb",
        "\\\n",
        " a ",
        "\t",
        "e\u0301",
        "\U0001f389",
        "$x",
        "=",
        "<<",
        "muon",
        "data/raw/a.txt",
    ],
]


def read_by_dvc(folder: Path, text: str) -> Any:
    """What a parameter is after `dvc exp run -S`."""
    file = folder / "params.yaml"
    file.write_text("prepare:\n  source: x\n", encoding="utf-8")
    (overrides,) = to_path_overrides([text]).values()
    apply_overrides(file, overrides)
    return read_params(file)["prepare"]["source"]


@pytest.mark.parametrize("value", [*NASTY, NASTY, 0.01, 3, True, None])
def test_dvc_reads_what_was_meant(tmp_path, value):
    assert read_by_dvc(tmp_path, override("prepare.source", value)) == value


@given(st.text("a'\"\\${},[]=:~+#\n -", min_size=1, max_size=12))
@settings(max_examples=100)
def test_dvc_reads_any_text(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("params")
    assert read_by_dvc(folder, override("prepare.source", text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "train.max_steps=uniform(1,inf)",
        "train.max_steps=uniform(nan,2)",
        f"train.decay=[{'[' * 9999}",
    ],
)
def test_a_space_without_end_is_refused(text):
    with pytest.raises(ConfigError):
        parse_axis(text)


@pytest.mark.parametrize("value", ["???", ["a", "???"]])
def test_a_value_that_omegaconf_reads_as_missing_is_refused(value):
    with pytest.raises(ConfigError, match="DVC cannot pass on"):
        override("prepare.source", value)
