"""Prompts as people give them."""

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tinyllm.app.prompts import PromptCommand, read_prompts
from tinyllm.base.errors import TinyLLMError


@click.command(cls=PromptCommand)
@click.argument("prompt", required=False)
@click.option("--stop", default="")
@click.option("--flag", is_flag=True)
@click.option("-n", "--number", default=0)
def command(prompt, stop, flag, number):
    """Print what was understood."""
    click.echo(repr((prompt, stop, flag, number)))


def understood(*words):
    result = CliRunner().invoke(command, words)
    assert result.exit_code == 0, result.stderr
    return eval(result.stdout)


@pytest.mark.parametrize(
    "prompt", ["- a", "-1 day", "-1", "-what", "--a b", "---", "-", "-\u00e9", "--\n", "-=", "a"]
)
def test_a_text_that_begins_with_a_dash_is_a_prompt(prompt):
    assert understood(prompt) == (prompt, "", False, 0)
    assert understood(prompt, "--flag", "--stop", "- b") == (prompt, "- b", True, 0)
    assert understood("-n", "-3", "--stop=-- c", prompt) == (prompt, "-- c", False, -3)


@pytest.mark.parametrize("prompt", ["--help", "--", "-n", "--stop"])
def test_what_looks_like_an_option_is_a_prompt_behind_two_dashes(prompt):
    assert understood("--flag", "--", prompt) == (prompt, "", True, 0)


@pytest.mark.parametrize("word", ["--stpo", "-x"])
def test_an_unknown_option_is_no_prompt(word):
    result = CliRunner().invoke(command, [word])
    assert result.exit_code == 2
    assert f"-- {word}" in result.stderr


@pytest.fixture
def prompts(tmp_path):
    def read(data, name="prompts.txt"):
        (tmp_path / name).write_bytes(data)
        return read_prompts(tmp_path / name)

    return read


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_are_prompts_however_they_are_encoded(prompts, encoding, end):
    assert prompts(end.join(["a", "", "\u00e9"]).encode(encoding)) == ["a", "", "\u00e9"]
    assert prompts(f"a{end}".encode(encoding)) == ["a"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"a\nb\xe9\n", ["line 2", "UTF-8", "0xe9"]),
        (b"\xff\xfea\x00b", ["UTF-16"]),
        (b"\x7fELF\x02\xff", ["line 1", "UTF-8"]),
    ],
)
def test_bytes_that_are_no_text_are_named(prompts, data, words):
    with pytest.raises(TinyLLMError) as caught:
        prompts(data)
    assert all(word in str(caught.value) for word in [*words, "prompts.txt"])


@pytest.mark.parametrize("name", ["p.jsonl", "P.JSONL"])
def test_empty_lines_of_json_do_not_count(prompts, name):
    data = b'\xef\xbb\xbf\r\n{"prompt": "a\\r\\n"}\r\n \n{"prompt": "\\ud83d\\ude00"}\n\n'
    assert prompts(data, name) == ["a\r\n", "\U0001f600"]


@pytest.mark.parametrize(
    "line",
    [b"[" * 100_000, b"NaN", b"9" * 5000, b'{"prompt": null}', b'{"prompt": "\\ud83d"}', b"\x00"],
)
def test_a_line_without_a_prompt_is_named(prompts, line):
    with pytest.raises(TinyLLMError, match=r"p\.jsonl, line 2: "):
        prompts(b'{"prompt": "a"}\n' + line, "p.jsonl")


@given(st.binary())
def test_any_bytes_are_prompts_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(data)
    try:
        found = read_prompts(path)
    except TinyLLMError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either way
    else:
        assert all(isinstance(prompt, str) for prompt in found)
