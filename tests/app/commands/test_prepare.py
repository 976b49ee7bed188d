"""The commands prepare, tokenize and params, called as from the prompt."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.conftest import write_prepared
from tinyllm.app.cli import main
from tinyllm.app.params import SECTIONS
from tinyllm.tokens.characters import CharacterTokenizer
from tinyllm.tokens.shards import load_tokens
from tinyllm.training.config import TrainingConfig


def call(*arguments):
    """The result of a command."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def complaint(code, *arguments):
    """The one line with which a command fails."""
    result = call(*arguments)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert line.startswith("Error: ")
    assert line.endswith(".")
    return line.removeprefix("Error: ")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder that is current; these commands need no MLflow store."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def play(text, folder):
    """A play in the current folder."""
    (folder / "play.txt").write_text(text, encoding="utf-8")
    return folder / "play.txt"


def test_prepare_writes_the_splits_and_tells_of_them(play, text):
    result = call("prepare", "--out", "out", "--source", "play.txt", "--val-fraction", "2e-1")
    assert result.exit_code == 0, result.output
    first, *rest = result.stdout.splitlines()
    assert first == "play.txt: taken 1 file"
    assert [line.split()[:3] for line in rest] == [
        ["train", "14,000", "characters"],
        ["val", "4,000", "characters"],
        ["test", "2,000", "characters"],
    ]
    out = play.parent / "out"
    splits = [(out / f"{name}-00000.txt").read_bytes() for name in ("train", "val", "test")]
    assert b"".join(splits).decode("utf-8") == text
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert summary["val"]["characters"] == 4000


def test_prepare_takes_switches(folder):
    (folder / "play.txt").write_bytes(b"ACT I.\r\nHe [aside] goes on.\r\n\r\n\r\nEnd")
    result = call(
        *("prepare", "--out=out", "--source=play.txt", "--no-collapse-blank-lines"),
        *("--strip-headings", "--strip-stage-directions", "--no-normalize-newlines"),
    )
    assert result.exit_code == 0, result.output
    text = b"".join((folder / f"out/{n}-00000.txt").read_bytes() for n in ("train", "val", "test"))
    assert text == b"\nHe goes on.\r\n\r\n\r\nEnd"


def test_prepare_reads_a_folder_of_another_encoding(folder):
    (folder / "plays").mkdir()
    for name in ("a.md", "b.md", "c.txt"):
        (folder / "plays" / name).write_bytes(b"Voil\xe0 l'\xe9t\xe9. " * 3)
    options = ("--source=plays", "--pattern=*.md", "--encoding=latin-1")
    result = call("prepare", "--out=out", *options)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("plays: taken 2 files, left out 1: 1 not *.md (c.txt)\n")
    assert "Voilà l'été" in (folder / "out/train-00000.txt").read_text(encoding="utf-8")


def test_prepare_without_a_corpus_fails_with_1(folder):
    message = complaint(1, "prepare", "--out", "out", "--source", "none")
    assert message.startswith("There is no corpus at none, which cannot be found;")
    assert not (folder / "out").exists()


def test_prepare_names_the_byte_that_does_not_decode(folder):
    (folder / "play.txt").write_bytes(b"Et tu\xff")
    message = complaint(1, "prepare", "--out", "out", "--source", "play.txt")
    assert message.startswith("play.txt is not utf-8: byte 0xff at offset 5 does not decode;")


@pytest.mark.parametrize(
    ("flag", "name"),
    [
        ("--val-fraction=0", "prepare.val_fraction"),
        ("--val-fraction=0.95", "prepare"),
        ("--test-fraction=many", "prepare.test_fraction"),
        ("--unicode-form=nfc", "prepare.unicode_form"),
        ("--source=", "prepare.source"),
    ],
)
def test_prepare_refuses_a_bad_flag_with_2(play, flag, name):
    message = complaint(2, "prepare", "--out", "out", "--source", "play.txt", flag)
    assert message.startswith(f"{name}: ")
    assert not (play.parent / "out").exists()


def test_prepare_cannot_write_below_a_file(play):
    Path("file").touch()
    message = complaint(2, "prepare", "--out", "file/out", "--source", "play.txt")
    assert message.startswith("--out file/out cannot be written, since ")


def test_prepare_refuses_to_write_where_the_corpus_is(play):
    for source, out in (("corpus", "corpus"), ("corpus", "corpus/out"), ("corpus/text", "corpus")):
        Path(source).mkdir(parents=True, exist_ok=True)
        message = complaint(2, "prepare", "--out", out, "--source", source)
        assert "lie in each other" in message


def test_prepare_does_not_take_a_file_for_its_folder(play):
    result = call("prepare", "--out", "play.txt", "--source", "play.txt")
    assert result.exit_code == 2
    assert "is a file" in result.stderr


def test_tokenize_writes_tokens_and_tells_of_them(prepared, folder):
    result = call("tokenize", "--prepared", prepared, "--out", "tokens")
    assert result.exit_code == 0, result.output
    first, *rest = result.stdout.splitlines()
    tokenizer = CharacterTokenizer.load_state(folder / "tokens/tokenizer.json")
    assert first == f"{tokenizer.vocab_size} tokens, stored as uint8"
    assert [line.split()[:3] for line in rest] == [
        ["train", "16,000", "tokens,"],
        ["val", "2,000", "tokens,"],
        ["test", "2,000", "tokens,"],
    ]
    val = (prepared / "val-00000.txt").read_bytes().decode("utf-8")
    known = "".join(char if char in tokenizer.alphabet else "\ufffd" for char in val)
    assert tokenizer.decode(load_tokens(folder / "tokens", "val")) == known


def test_tokenize_shows_what_the_alphabet_lacks(folder):
    write_prepared(folder / "p", train="aaab", val="aaé\t", test="aa")
    result = call("tokenize", "--prepared=p", "--out=tokens", "--min-count=2")
    assert result.exit_code == 0, result.output
    first, train, val, test = result.stdout.splitlines()
    assert first == "2 tokens, stored as uint8"
    assert train.endswith(" 4 tokens, 75.0000% known, unknown: 'b'")
    assert val.endswith(" 4 tokens, 50.0000% known, unknown: '\\t' 'é'")
    assert test.endswith(" 2 tokens, 100.0000% known")


def test_tokenize_asks_for_the_prepare_stage(folder):
    message = complaint(1, "tokenize", "--prepared", "none", "--out", "tokens")
    assert message.startswith("There is no none/summary.json;")
    assert "run the prepare stage first" in message
    assert not (folder / "tokens").exists()


def test_tokenize_without_a_frequent_character_fails_with_1(prepared, folder):
    message = complaint(
        1, "tokenize", "--prepared", prepared, "--out", "tokens", "--min-count=100000"
    )
    assert "lower tokenize.min_count" in message


def test_tokenize_refuses_a_bad_flag_with_2(prepared, folder):
    message = complaint(2, "tokenize", "--prepared", prepared, "--out=t", "--min-count=0")
    assert message.startswith("tokenize.min_count: ")


@pytest.mark.parametrize("command", ["prepare", "tokenize"])
def test_a_stage_without_its_folders_exits_with_2(command, folder):
    result = call(command)
    assert result.exit_code == 2
    assert "Missing option" in result.stderr


def test_params_prints_a_row_of_four_cells_for_every_parameter():
    result = call("params")
    assert result.exit_code == 0
    title, *_ = lines = result.stdout.splitlines()
    assert title == "# Parameters"
    header, rule, *rows = (line for line in lines if line.startswith("|"))
    assert header == "| parameter | default | range | meaning |"
    assert rule == "|---|---|---|---|"
    cells = [row.removeprefix("| ").removesuffix(" |").split(" | ") for row in rows]
    assert {len(row) for row in cells} == {4}
    expected = [f"`{n}.{key}`" for n, cls in SECTIONS.items() for key in cls.model_fields]
    assert [row[0] for row in cells] == expected


def test_params_shows_defaults_ranges_and_meanings():
    output = call("params").stdout
    rate = TrainingConfig().learning_rate
    assert f"| `train.learning_rate` | `{rate}` | > 0, <= 10 | peak learning rate" in output
    assert "| `prepare.unicode_form` | `NFC` | NFC, NFD, NFKC, NFKD, none |" in output
    assert re.search(r"\| `evaluate.prompts` \| `\['DUKE ORSMUND:\\n', .*\]` \|", output)
