"""Options made from sections: one per field, and the same section there and back."""

import re
from collections import Counter
from pathlib import Path
from typing import ClassVar

import click
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from tinyllm.app.cli import main
from tinyllm.app.config import DisplayConfig, TrackingConfig
from tinyllm.app.params import SECTIONS
from tinyllm.base.command import Command, describe_range, section_arguments, section_options
from tinyllm.base.errors import ConfigError, TinyLLMError
from tinyllm.base.runtime import RuntimeConfig
from tinyllm.base.section import Section
from tinyllm.corpus.config import PrepareConfig
from tinyllm.evaluation.config import EvaluateConfig
from tinyllm.formats.config import ExportConfig
from tinyllm.inference.config import SamplingConfig
from tinyllm.inference.request import ServeConfig
from tinyllm.kernels.config import NumericsConfig
from tinyllm.model.config import ModelConfig
from tinyllm.tokens.config import TokenizeConfig
from tinyllm.training.config import TrainingConfig

CHANGED = [
    PrepareConfig(
        source="a folder/with = signs\nand 'quotes'",
        pattern="**/*.md",
        encoding="detect",
        text_column="body",
        normalize_newlines=False,
        unicode_form="none",
        strip_gutenberg=True,
        strip_stage_directions=True,
        strip_headings=True,
        collapse_blank_lines=False,
        split_by="corpus",
        val_fraction=1e-05,
        test_fraction=0.0,
    ),
    TokenizeConfig(kind="bpe", min_count=3, vocab_size=300, learn_characters=9),
    ModelConfig(
        d_model=96,
        num_heads=3,
        num_layers=1,
        d_ff=7,
        sequence_length=9,
        dropout=0.3,
        rope_theta=1e30,
        norm_eps=1e-12,
        tie_embeddings=True,
    ),
    TrainingConfig(
        initial_attention="random",
        seed=2**63 - 1,
        max_steps=7,
        batch_size=5,
        gradient_accumulation_steps=2,
        optimizer="adamw",
        learning_rate=1 / 3,
        embedding_learning_rate=1e-07,
        warmup_steps=0,
        decay="cosine",
        decay_fraction=0.0,
        final_learning_rate_fraction=0.1,
        weight_decay=0.0,
        momentum=0.0,
        muon_beta2=0.5,
        adam_beta1=0.0,
        adam_beta2=0.999,
        teacher_order=5,
        teacher_weight=0.25,
        final_teacher_weight=1 / 3,
        teacher_characters=0,
        gradient_clip=0.0,
        eval_interval=1,
        eval_characters=0,
        final_eval_characters=7,
    ),
    NumericsConfig(
        processes=3,
        mode="fast",
        device="cpu",
        precision="bfloat16",
        threads=7,
        parallelism="fsdp",
        compile=True,
    ),
    EvaluateConfig(
        split="val",
        max_characters=0,
        eval_batch_size=1,
        baseline_order=8,
        baseline_characters=1,
        prompts=["DUKE:\n\n", "--split=test", "", " a b ", "😀 'x' \"y\"", "-"],
        sample_seeds=0,
        sample_length=1,
        sample_temperature=0.0,
    ),
    ExportConfig(
        formats=["pyfunc", "onnx"],
        gguf_precisions=["f16"],
        verify_with=["llama.cpp"],
        skip_missing=True,
        model_name="the-duke_1.0",
        license="cc-by-4.0",
        author="--author, 'A' & B",
        languages=["de", "grc"],
    ),
    RuntimeConfig(workers=3, engine="ray", checkpoint_interval=0.0),
    DisplayConfig(log_interval=1, progress=False),
    TrackingConfig(
        tracking=False, experiment="-x", registered_model="it's mine", champion_margin=0.5
    ),
    ServeConfig(max_prompts=1, max_prompt_characters=2, max_new_tokens=3, max_seconds=0.5),
    SamplingConfig(max_new_tokens=1, temperature=0.0, top_k=3, top_p=0.5, seed=2**62, stop="\n\n"),
]


# no argument of a command can hold NUL
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


def invoke(section, arguments):
    """Runs a command that takes the options of a section; the result and what it received."""
    received = []

    @click.command(cls=Command)
    @section_options(section)
    def probe(**sections):
        received.append(sections)

    return CliRunner().invoke(probe, arguments), received


def parse(section, arguments):
    """The section that a command receives."""
    result, received = invoke(section, arguments)
    assert result.exit_code == 0, result.output
    [sections] = received
    assert list(sections) == [section.section]
    return sections[section.section]


def test_the_changed_sections_are_all_and_differ_from_the_defaults_everywhere():
    assert {type(section) for section in CHANGED} == {*SECTIONS.values(), SamplingConfig}
    for section in CHANGED:
        defaults = type(section)().model_dump()
        same = [name for name, value in section.model_dump().items() if value == defaults[name]]
        assert same == []


@pytest.mark.parametrize("section", CHANGED, ids=lambda section: section.section)
def test_a_section_comes_back_from_the_command_line(section):
    assert parse(type(section), section_arguments(section)) == section


@pytest.mark.parametrize("section", SECTIONS.values(), ids=SECTIONS)
def test_defaults_come_back_with_flags_and_without(section):
    assert parse(section, section_arguments(section())) == section()
    assert parse(section, []) == section()


@given(NAMES, st.floats(min_value=0, max_value=1, exclude_min=True), st.booleans())
@settings(max_examples=50)
def test_any_text_and_number_comes_back_from_the_command_line(source, share, flag):
    section = PrepareConfig(
        source=source, val_fraction=min(share, 0.5), test_fraction=0, normalize_newlines=flag
    )
    assert parse(PrepareConfig, section_arguments(section)) == section


@given(st.lists(st.text(), min_size=1))
@settings(max_examples=50)
def test_any_list_of_texts_comes_back_from_the_command_line(prompts):
    section = EvaluateConfig(prompts=prompts)
    assert parse(EvaluateConfig, section_arguments(section)) == section


def test_flags_are_spelled_with_hyphens_and_booleans_can_be_denied():
    assert section_arguments(DisplayConfig(progress=False)) == [
        "--log-interval=10",
        "--no-progress",
    ]


def test_numbers_on_the_command_line_are_read_as_in_the_file():
    section = parse(TrainingConfig, ["--learning-rate", "1e-3", "--max-steps", "1e3"])
    assert section == TrainingConfig(learning_rate=0.001, max_steps=1000)


@pytest.mark.parametrize("name", main.list_commands(None))
def test_every_option_of_a_command_is_its_own(name):
    command = main.get_command(None, name)
    context = click.Context(command, help_option_names=["-h", "--help"])
    options = [
        option
        for parameter in command.get_params(context)
        for option in (*parameter.opts, *parameter.secondary_opts)
    ]
    names = [parameter.name for parameter in command.get_params(context)]
    assert [option for option, count in Counter(options).items() if count > 1] == []
    assert len(names) == len(set(names))


def test_no_two_sections_of_the_file_share_a_flag():
    flags = [name for section in SECTIONS.values() for name in section.model_fields]
    assert [flag for flag, count in Counter(flags).items() if count > 1] == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--batch-size", "0"], "train.batch_size: should be greater than or equal to 1"),
        (["--batch-size=1.5"], "train.batch_size: "),
        (["--learning-rate", "fast"], "train.learning_rate: expected a number, got 'fast'."),
        (["--optimizer=sgd"], "train.optimizer: should be 'muon' or 'adamw', got 'sgd'."),
        (
            ["--max-steps=1", "--warmup-steps=2"],
            "train: warmup_steps (2) must not exceed max_steps (1).",
        ),
    ],
)
def test_a_bad_flag_is_refused_with_the_sentence_of_the_section(arguments, sentence):
    result, received = invoke(TrainingConfig, arguments)
    assert result.exit_code == 2
    assert received == []
    assert result.stderr.startswith(f"Error: {sentence}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(("error", "code"), [(TinyLLMError, 1), (ConfigError, 2)])
def test_a_failure_is_printed_and_exits_with_its_code(error, code):
    @click.command(cls=Command)
    def probe():
        raise error("It went wrong.")

    result = CliRunner().invoke(probe)
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", "Error: It went wrong.\n")


def test_a_bug_is_one_sentence_that_names_the_log():
    @click.command(cls=Command)
    def probe():
        raise ZeroDivisionError

    result = CliRunner().invoke(probe)
    assert result.exit_code == 1
    assert "failed unexpectedly (ZeroDivisionError)" in result.stderr
    log = Path(re.search(r"The details are in (.+)\.\n", result.stderr)[1])
    assert "test_options.py" in log.read_text(encoding="utf-8")


class Ranges(Section):
    section: ClassVar[str] = "ranges"

    share: float | None = Field(None, gt=0, lt=1, description="a share")


@pytest.mark.parametrize(
    ("section", "name", "words"),
    [
        (TrainingConfig, "batch_size", ">= 1, <= 1000000"),
        (TrainingConfig, "learning_rate", "> 0, <= 10"),
        (TrainingConfig, "optimizer", "muon, adamw"),
        (ModelConfig, "dropout", ">= 0, < 1"),
        (ModelConfig, "tie_embeddings", ""),
        (EvaluateConfig, "prompts", ""),
        (PrepareConfig, "source", ""),
        (Ranges, "share", "> 0, < 1"),
    ],
)
def test_ranges_are_described_in_signs(section, name, words):
    assert describe_range(section, name) == words
