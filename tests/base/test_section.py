"""Sections: numbers in any spelling, and every fault explained in one sentence."""

import math
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tinyllm.base.errors import ConfigError, Interrupted, TinyLLMError
from tinyllm.base.runtime import RuntimeConfig
from tinyllm.base.section import Section, field_type
from tinyllm.corpus.config import PrepareConfig
from tinyllm.evaluation.config import EvaluateConfig
from tinyllm.formats.config import ExportConfig
from tinyllm.inference.config import SamplingConfig
from tinyllm.kernels.config import NumericsConfig
from tinyllm.model.config import ModelConfig
from tinyllm.training.config import TrainingConfig

NO_NUMBERS = [True, False, "abc", "", "true", None, [1], {}, "1:30", "0x10"]
NOT_FINITE = [math.nan, math.inf, -math.inf, "nan", "inf", "-Infinity", "1e999"]


class Optional(Section):
    section: ClassVar[str] = "optional"

    count: int | None = None
    share: float | None = None


def refusal(section, values, where=""):
    """The error message for values."""
    with pytest.raises(ConfigError) as caught:
        section.parse(values, where)
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert "\n" not in message
    assert message.endswith(".")
    return message


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1e-3", 0.001),
        ("1E-3", 0.001),
        (0.001, 0.001),
        (1, 1.0),
        ("2e-4", 0.0002),
        ("2.5", 2.5),
        (" .5 ", 0.5),
        ("5.", 5.0),
        ("+1e+0", 1.0),
    ],
)
def test_a_float_is_read_in_any_spelling(written, meant):
    value = TrainingConfig.parse({"learning_rate": written}).learning_rate
    assert value == meant
    assert type(value) is float


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (7, 7),
        (1e3, 1000),
        ("1e3", 1000),
        ("1E2", 100),
        ("100", 100),
        (" 7 ", 7),
        ("+7", 7),
        ("7.0", 7),
        ("1_000", 1000),
    ],
)
def test_an_integer_is_read_in_any_spelling(written, meant):
    value = TrainingConfig.parse({"batch_size": written}).batch_size
    assert value == meant
    assert type(value) is int


@pytest.mark.parametrize("seed", [2**53 + 1, 2**63 - 1])
def test_a_large_integer_in_quotes_keeps_every_digit(seed):
    assert TrainingConfig.parse({"seed": str(seed)}).seed == seed


@pytest.mark.parametrize("value", [*NO_NUMBERS, *NOT_FINITE, 3.7, "3.7", 0, -1])
def test_what_is_not_a_positive_integer_is_refused(value):
    assert refusal(TrainingConfig, {"batch_size": value}).startswith("train.batch_size: ")


@pytest.mark.parametrize("value", [*NO_NUMBERS, *NOT_FINITE, 0, -0.1, 10.5, "11"])
def test_what_is_not_a_learning_rate_is_refused(value):
    assert refusal(TrainingConfig, {"learning_rate": value}).startswith("train.learning_rate: ")


@given(st.floats(min_value=1e-300, max_value=10))
def test_a_float_round_trips_through_text(value):
    assert TrainingConfig.parse({"learning_rate": repr(value)}).learning_rate == value


@given(st.integers(min_value=0, max_value=2**63 - 1))
def test_an_integer_round_trips_through_text(value):
    assert TrainingConfig.parse({"seed": f" {value} "}).seed == value


def test_an_optional_number_may_be_null():
    assert Optional.parse({"count": None, "share": None}) == Optional()
    assert Optional.parse({"count": "1e2", "share": "1e-1"}) == Optional(count=100, share=0.1)
    assert "expected a number" in refusal(Optional, {"count": True})


@pytest.mark.parametrize(
    ("section", "name", "kind"),
    [
        (TrainingConfig, "batch_size", int),
        (TrainingConfig, "learning_rate", float),
        (PrepareConfig, "strip_headings", bool),
        (PrepareConfig, "source", str),
        (EvaluateConfig, "prompts", list[str]),
        (Optional, "count", int),
        (Optional, "share", float),
    ],
)
def test_the_type_of_a_field_is_the_plain_one(section, name, kind):
    assert field_type(section, name) == kind


def test_a_misspelled_key_suggests_the_nearest_one():
    message = refusal(TrainingConfig, {"learnin_rate": 1})
    assert message == ("train.learnin_rate is not a known parameter (did you mean learning_rate?).")


def test_a_key_unlike_any_other_lists_all_of_them():
    message = refusal(ExportConfig, {"zzz": 1})
    assert message == (
        "export.zzz is not a known parameter "
        "(known: formats, gguf_precisions, verify_with, skip_missing, "
        "model_name, license, author, languages)."
    )


def test_a_key_that_is_not_text_is_refused():
    assert "train.1" in refusal(TrainingConfig, {1: 2})


def test_every_fault_is_named_with_its_value_and_the_file():
    values = {"batch_size": 0, "optimizer": "sgd", "decay": "linear"}
    message = refusal(TrainingConfig, values, "some/params.yaml")
    assert "train.batch_size: should be greater than or equal to 1, got 0" in message
    assert "train.optimizer: should be 'muon' or 'adamw', got 'sgd'" in message
    assert "decay" not in message
    assert message.endswith(" in some/params.yaml.")


@pytest.mark.parametrize("values", [[], "text", 5, 0, False])
def test_values_that_are_not_a_mapping_are_refused(values):
    message = refusal(TrainingConfig, values, "p.yaml")
    assert message == "train in p.yaml must be a mapping of parameters."


@pytest.mark.parametrize("values", [None, {}])
def test_no_values_mean_the_defaults(values):
    assert TrainingConfig.parse(values) == TrainingConfig()


@pytest.mark.parametrize(
    ("section", "values", "words"),
    [
        (TrainingConfig, {"max_steps": 10, "warmup_steps": 11}, "warmup_steps (11) must not"),
        (PrepareConfig, {"val_fraction": 0.5, "test_fraction": 0.5}, "must stay below 1"),
        (PrepareConfig, {"val_fraction": 0}, "prepare.val_fraction"),
        (PrepareConfig, {"source": ""}, "prepare.source"),
        (PrepareConfig, {"unicode_form": "nfc"}, "prepare.unicode_form"),
        (ModelConfig, {"d_model": 10, "num_heads": 3}, "num_heads (3) must divide d_model (10)"),
        (ModelConfig, {"d_model": 9, "num_heads": 3}, "rotary embedding needs an even number"),
        (ModelConfig, {"dropout": 1}, "model.dropout"),
        (NumericsConfig, {"device": "cuda"}, "for device 'cuda' use mode 'fast'"),
        (NumericsConfig, {"device": "mps"}, "for device 'mps' use mode 'fast'"),
        (NumericsConfig, {"precision": "bfloat16"}, "for bfloat16 use mode 'fast'"),
        (NumericsConfig, {"compile": True}, "mode 'portable' never compiles the model"),
        (EvaluateConfig, {"split": "train"}, "evaluate.split"),
        (EvaluateConfig, {"baseline_order": 9}, "evaluate.baseline_order"),
        (EvaluateConfig, {"prompts": "one"}, "evaluate.prompts"),
        (ExportConfig, {"formats": []}, "export.formats"),
        (ExportConfig, {"formats": ["pickle"]}, "export.formats.0"),
        (NumericsConfig, {"threads": 0}, "numerics.threads"),
        (RuntimeConfig, {"checkpoint_interval": -1}, "runtime.checkpoint_interval"),
        (PrepareConfig, {"strip_headings": "perhaps"}, "prepare.strip_headings"),
        (SamplingConfig, {"top_p": 0}, "sampling.top_p"),
        (SamplingConfig, {"seed": 2**63}, "sampling.seed"),
    ],
)
def test_values_that_do_not_fit_are_refused(section, values, words):
    assert words in refusal(section, values)


@pytest.mark.parametrize(
    ("section", "values"),
    [
        (TrainingConfig, {"max_steps": 10, "warmup_steps": 10}),
        (TrainingConfig, {"max_steps": 10}),
        (PrepareConfig, {"val_fraction": 0.5, "test_fraction": 0}),
        (ModelConfig, {"d_model": 12, "num_heads": 3}),
        (NumericsConfig, {"mode": "fast", "device": "cuda", "precision": "bfloat16"}),
        (SamplingConfig, {"temperature": 0, "top_p": 1, "seed": 2**63 - 1}),
    ],
)
def test_values_at_the_limits_are_accepted(section, values):
    parsed = section.parse(values)
    assert {name: getattr(parsed, name) for name in values} == values


def test_the_width_of_a_head_is_its_share_of_the_model():
    assert ModelConfig(d_model=96, num_heads=3).head_dim == 32


def test_a_section_cannot_be_changed():
    section = TrainingConfig()
    with pytest.raises(ValidationError, match="frozen"):
        section.batch_size = 2


def test_failures_carry_the_exit_codes_of_their_kind():
    assert TinyLLMError("x").exit_code == 1
    assert ConfigError("x").exit_code == 2
    assert isinstance(ConfigError("x"), TinyLLMError)
    assert Interrupted("x", 15).exit_code == 143
