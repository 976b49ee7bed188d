"""params.yaml: the file in the repository, and files that are refused."""

from pathlib import Path

import pytest
import yaml

from tinyllm.app.params import SECTIONS, flatten, load_params, parse_params
from tinyllm.base.errors import ConfigError
from tinyllm.training.config import TrainingConfig

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"
PRESETS = sorted((PARAMS.parent / "presets").glob("*.yaml"))


@pytest.fixture
def load(tmp_path):
    """Reads a text as params.yaml."""

    def load_text(text):
        (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
        return load_params(tmp_path / "params.yaml")

    return load_text


def refusal(call, *arguments):
    """The one sentence with which a file is refused."""
    with pytest.raises(ConfigError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert "\n" not in message
    assert message.endswith(".")
    return message


@pytest.mark.parametrize("name", SECTIONS)
def test_the_file_in_the_repository_holds_the_defaults(name):
    # what is said of the sample holds for no other text
    said = {"license": "mit", "languages": ["en"]} if name == "export" else {}
    assert load_params(PARAMS)[name] == SECTIONS[name](**said)


@pytest.mark.parametrize("name", SECTIONS)
def test_the_file_in_the_repository_names_every_parameter_in_order(name):
    raw = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    assert list(raw[name]) == list(SECTIONS[name].model_fields)


def test_every_section_is_known_by_its_own_name():
    assert {name: cls.section for name, cls in SECTIONS.items()} == {
        name: name for name in SECTIONS
    }


def test_only_how_a_stage_runs_leaves_its_outputs_alone():
    free = {name for name, cls in SECTIONS.items() if not cls.affects_outputs}
    assert free == {"runtime", "display", "tracking", "serve"}


def test_what_a_file_leaves_out_takes_its_default(load):
    sections = load("train: {batch_size: 7}\nmodel:\n")
    assert list(sections) == list(SECTIONS)
    assert sections["train"] == SECTIONS["train"](batch_size=7)
    assert sections["model"] == SECTIONS["model"]()
    assert sections["prepare"] == SECTIONS["prepare"]()


def test_numbers_that_yaml_takes_for_text_are_numbers(load):
    train = load("train: {learning_rate: 1e-3, max_steps: 1e3, weight_decay: 0}")["train"]
    assert train.learning_rate == 0.001
    assert train.max_steps == 1000
    assert train.weight_decay == 0.0


@pytest.mark.parametrize("value", ["true", "abc", "3.7", ".nan", ".inf", "null", "[1]", "'inf'"])
def test_what_is_no_integer_is_refused_with_the_file(load, tmp_path, value):
    message = refusal(load, f"train: {{batch_size: {value}}}")
    assert message.startswith("train.batch_size: ")
    assert message.endswith(f" in {tmp_path / 'params.yaml'}.")


@pytest.mark.parametrize("name", SECTIONS)
def test_an_unknown_key_is_refused_in_every_section(load, name):
    assert f"{name}.zzz is not a known parameter" in refusal(load, f"{name}: {{zzz: 1}}")


def test_a_misspelled_key_is_answered_with_the_nearest_one(load):
    message = refusal(load, "model: {num_layer: 3}")
    assert "model.num_layer is not a known parameter (did you mean num_layers?)" in message


def test_unknown_sections_are_named_together_with_the_known_ones(load):
    message = refusal(load, "trian: {}\n7: {}\ntrain: {}")
    assert message.startswith("trian, 7 in ")
    assert f"(known: {', '.join(SECTIONS)})" in message


def test_a_section_that_is_no_mapping_is_refused(load):
    assert refusal(load, "train: [1, 2]").startswith("train in ")


@pytest.mark.parametrize("text", ["train: {", "a: b: c", "\tx", "\x07", "train: !!python/none"])
def test_broken_yaml_is_refused_with_its_place(load, tmp_path, text):
    message = refusal(load, text)
    assert message.startswith(f"{tmp_path / 'params.yaml'} is not valid YAML: ")


def test_bytes_that_are_no_utf8_are_refused(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_bytes(b"train: \xff")
    message = refusal(load_params, path)
    assert message == f"{path} is damaged: it is not UTF-8 at byte 7."


@pytest.mark.parametrize("text", ["- 1\n- 2", "train", "7", ""])
def test_a_file_that_is_no_mapping_is_refused(load, text):
    assert "must hold sections such as 'train:'" in refusal(load, text)


def test_a_missing_file_is_named(tmp_path):
    path = tmp_path / "none.yaml"
    assert refusal(load_params, path) == f"Cannot read {path}: No such file or directory."


def test_a_folder_is_no_file(tmp_path):
    assert refusal(load_params, tmp_path) == f"Cannot read {tmp_path}: it is a folder."


def test_flattened_sections_name_every_parameter_once():
    flat = flatten({name: cls() for name, cls in SECTIONS.items()})
    assert flat["train.batch_size"] == TrainingConfig().batch_size
    assert flat["export.formats"] == ["huggingface", "onnx", "gguf", "pyfunc", "playground"]
    assert len(flat) == sum(len(cls.model_fields) for cls in SECTIONS.values())


def test_a_flattened_file_reads_back_as_the_same_sections(load):
    sections = load_params(PARAMS)
    nested = {name: {} for name in sections}
    for key, value in flatten(sections).items():
        name, _, field = key.partition(".")
        nested[name][field] = value
    assert load(yaml.safe_dump(nested)) == sections


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.stem)
def test_every_preset_can_take_the_place_of_params(preset):
    load_params(preset)
    given = yaml.safe_load(preset.read_text(encoding="utf-8"))
    # DVC wants every section that a stage depends on
    assert set(given) >= {"prepare", "tokenize", "model", "train", "numerics", "evaluate", "export"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "numerics: {processes: 2}",
            (
                "numerics.processes (2) must divide train.gradient_accumulation_steps (1) evenly; "
                "only in mode 'fast' do they share the windows of a step, in p.yaml."
            ),
        ),
        (
            "prepare: {test_fraction: 0}",
            (
                "prepare.test_fraction is 0 in p.yaml, so there is no test split to evaluate on; "
                "set evaluate.split to val."
            ),
        ),
    ],
)
def test_sections_that_contradict_each_other_are_refused_before_any_work(text, sentence):
    with pytest.raises(ConfigError) as caught:
        parse_params(text, "p.yaml")
    assert str(caught.value) == sentence


def test_sections_that_agree_are_taken():
    text = "{numerics: {processes: 2}, train: {gradient_accumulation_steps: 4}}"
    assert parse_params(text, "p.yaml")["numerics"].processes == 2
    text = "{prepare: {test_fraction: 0}, evaluate: {split: val}}"
    assert parse_params(text, "p.yaml")["evaluate"].split == "val"
