"""`tinyllm generate`: one text as it is written, many as lines, in either runtime."""

import json
import os

import pytest
from click.testing import CliRunner

from tinyllm.app.cli import main
from tinyllm.inference.config import SamplingConfig
from tinyllm.inference.generate import generate_text

pytestmark = pytest.mark.medium

FLAGS = ["--max-new-tokens=30", "--seed=3"]
SAMPLING = SamplingConfig(max_new_tokens=30, seed=3)
PROMPTS = ["What news, ", "DUKE:", "", "O"]


@pytest.fixture
def generate(checkpoint_folder, tmp_path, monkeypatch):
    """Run the command on the small model."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, model=checkpoint_folder, stdin=None):
        return CliRunner().invoke(
            main, ["generate", "--model", str(model), *FLAGS, *arguments], input=stdin
        )

    return run


@pytest.fixture
def expected(checkpoint):
    return [generate_text(checkpoint, prompt, SAMPLING) for prompt in PROMPTS]


def test_a_prompt_is_gone_on_from(generate, expected):
    assert generate(PROMPTS[0]).stdout == expected[0] + "\n"


def test_without_a_prompt_standard_input_is_one(generate, checkpoint):
    text = "DUKE:\nWhat news?\n"
    assert generate(stdin=text).stdout == generate_text(checkpoint, text, SAMPLING) + "\n"


def test_onnx_runtime_writes_the_same(generate, export_folder, expected):
    for place in (export_folder, export_folder / "huggingface", export_folder / "pyfunc"):
        result = generate("--runtime=onnx", PROMPTS[0], model=place)
        assert result.stdout == expected[0] + "\n"


@pytest.mark.parametrize("batch", ["1", "3", "64"])
def test_many_prompts_give_a_line_of_json_each(generate, expected, tmp_path, batch):
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS) + "\n", encoding="utf-8")
    result = generate("--prompts=prompts.txt", "--jsonl", f"--batch-size={batch}")
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["prompt"] for line in found] == PROMPTS
    assert [line["text"] for line in found] == expected


def test_prompts_of_several_lines_come_as_json(generate, checkpoint, tmp_path):
    prompts = ["DUKE:\nI am", "\u00e9 "]
    lines = [json.dumps({"prompt": prompt}) for prompt in prompts]
    (tmp_path / "prompts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    result = generate("--prompts=prompts.jsonl", "--jsonl")
    texts = [json.loads(line)["text"] for line in result.stdout.splitlines()]
    assert texts == [generate_text(checkpoint, prompt, SAMPLING) for prompt in prompts]


def test_prompts_may_come_from_standard_input(generate, expected):
    result = generate("--prompts=-", "--jsonl", stdin="\n".join(PROMPTS[:2]))
    assert [json.loads(line)["text"] for line in result.stdout.splitlines()] == expected[:2]


def test_without_json_a_blank_line_stands_between_texts(generate, expected):
    result = generate("--prompts=-", stdin="\n".join(PROMPTS[:2]))
    assert result.stdout == "".join(text + "\n\n" for text in expected[:2])


@pytest.mark.parametrize("line", ["no json", "[1]", '{"text": "a"}', '{"prompt": 3}'])
def test_a_line_that_holds_no_prompt_is_named(generate, tmp_path, line):
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "a"}\n' + line, encoding="utf-8")
    result = generate("--prompts=prompts.jsonl")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: prompts.jsonl, line 2: ")
    assert result.stdout == ""


def test_a_prompt_and_a_file_of_prompts_exclude_each_other(generate):
    result = generate("What", f"--prompts={os.devnull}")
    assert result.exit_code == 2


def test_a_folder_without_onnx_says_what_to_do(generate):
    result = generate("--runtime=onnx", "What")
    assert result.exit_code == 1
    assert "There is no ONNX form" in result.stderr
    assert "export.formats" in result.stderr


def test_several_samples_have_seeds_that_count_up(generate, checkpoint):
    result = generate("--samples=3", "--jsonl", "What")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["seed"] for row in rows] == [3, 4, 5]
    for row in rows:
        sampling = SAMPLING.model_copy(update={"seed": row["seed"]})
        assert row["text"] == generate_text(checkpoint, "What", sampling)
    shown = generate("--samples=3", "What").stdout
    assert shown == "\n".join(f"{row['text']}\n" for row in rows)


def test_without_a_seed_a_fresh_one_is_named(checkpoint_folder):
    command = ["generate", "--model", str(checkpoint_folder), "--max-new-tokens=30", "What"]
    first, second = (CliRunner().invoke(main, command) for _ in range(2))
    assert first.stdout != second.stdout
    seed = first.stderr.split()[-1]
    assert CliRunner().invoke(main, [*command, "--seed", seed]).stdout == first.stdout
    greedy = CliRunner().invoke(main, [*command, "--temperature=0"])
    assert greedy.stderr == ""
