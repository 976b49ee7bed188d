"""params.yaml: what two programs would read differently is refused."""

import pytest

from tinyllm.base.errors import ConfigError
from tinyllm.base.params_file import parse_yaml, read_params


@pytest.mark.parametrize("value", ["010", "0777", "-012", "1:30", "190:20:30.15", "0_1"])
def test_a_number_that_is_another_to_other_programs_is_refused(value):
    with pytest.raises(ConfigError, match=rf"params\.yaml, line 2: {value} is not the same number"):
        parse_yaml(f"train:\n  seed: {value}\n", "params.yaml")


@pytest.mark.parametrize("value", ["yes", "no", "on", "off", "Yes", "OFF"])
def test_a_truth_value_that_is_a_text_to_other_programs_is_refused(value):
    with pytest.raises(ConfigError, match="write true or false"):
        parse_yaml(f"train:\n  flag: {value}\n", "params.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10", 10),
        ("0", 0),
        ("-0", 0),
        ("0.5", 0.5),
        ("1_000", 1000),
        ("0x1F", 31),
        ("'010'", "010"),
        ("true", True),
        ("FALSE", False),
        ("1e-3", "1e-3"),
        ("1.0e-3", 0.001),
        ("01abc", "01abc"),
    ],
)
def test_everything_else_is_read_as_ever(text, value):
    assert parse_yaml(f"a: {{b: {text}}}", "params.yaml") == {"a": {"b": value}}


@pytest.mark.parametrize("text", ["a: {}\nb: {}\na: {}\n", "a:\n  x: 1\n  y: 2\n  x: 3\n"])
def test_a_key_that_is_there_twice_is_refused(text):
    with pytest.raises(ConfigError, match=r"line \d: [ax] is there twice"):
        parse_yaml(text, "params.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "a",
        "a: [",
        "a: &x *x",
        "? [a]\n: b\n",
        "[" * 5000,
        "!!python/name:os.x ''",
        "!!int",
    ],
)
def test_what_is_no_mapping_of_sections_is_refused(text):
    with pytest.raises(ConfigError, match=r"params\.yaml (is not valid YAML|must hold sections)"):
        parse_yaml(text, "params.yaml")


def test_a_folder_is_not_read(tmp_path):
    with pytest.raises(ConfigError, match="it is a folder"):
        read_params(tmp_path)


def test_what_one_reader_changes_another_does_not_see():
    text = "train: {seed: 1}"
    parse_yaml(text, "one")["train"]["seed"] = 2
    assert parse_yaml(text, "another") == {"train": {"seed": 1}}
