"""The console: prompts, every command, bad values, interruptions."""

import io

import pytest
import torch

from tinyllm.app.console import TinyLLMConsole, read_lines
from tinyllm.base.errors import TinyLLMError
from tinyllm.formats.load import load_model
from tinyllm.inference.config import SamplingConfig
from tinyllm.inference.generate import generate_text

SHORT = SamplingConfig(max_new_tokens=12, seed=0)


@pytest.fixture(autouse=True)
def one_thread():
    """More threads do not help a single stream of a small model."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def shown():
    """What the console wrote, piece by piece."""
    return []


@pytest.fixture
def console(checkpoint, shown):
    return TinyLLMConsole(checkpoint, "small", load_model, SHORT, shown.append)


def last_line(shown):
    return "".join(shown).removesuffix("\n").rpartition("\n")[2]


def test_a_prompt_is_answered_piece_by_piece(console, shown, checkpoint):
    assert console.handle("What news, ")
    assert "".join(shown) == generate_text(checkpoint, "What news, ", SHORT) + "\n"
    assert len(shown) == 1 + 12 + 1


def test_a_backslash_n_in_a_prompt_means_a_new_line(console, shown, checkpoint):
    assert console.handle("DUKE:\\nI am")
    assert "".join(shown) == generate_text(checkpoint, "DUKE:\nI am", SHORT) + "\n"


@pytest.mark.parametrize("line", ["", "   ", "\t"])
def test_a_blank_line_is_no_prompt(console, shown, line):
    assert console.handle(line)
    assert shown == []


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("/temp 0.5", "temperature", 0.5),
        ("/temp 0", "temperature", 0.0),
        ("/tokens 30", "max_new_tokens", 30),
        ("/tokens 1e2", "max_new_tokens", 100),
        ("/topk 7", "top_k", 7),
        ("/topp 0.25", "top_p", 0.25),
        ("/seed  9 ", "seed", 9),
    ],
)
def test_a_setting_changes_that_setting_alone(console, shown, line, field, value):
    assert console.handle(line)
    assert console.sampling == SHORT.model_copy(update={field: value})
    assert "".join(shown) == f"{field} = {value}\n"


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("/temp", "temperature = 0.8"),
        ("/tokens", "max_new_tokens = 12"),
        ("/topk", "top_k = 0"),
        ("/topp", "top_p = 1.0"),
        ("/seed", "seed = 0"),
    ],
)
def test_a_setting_without_a_value_is_shown(console, shown, command, answer):
    assert console.handle(command)
    assert "".join(shown) == f"{answer}\n"
    assert console.sampling == SHORT


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("/temp hot", "temperature"),
        ("/temp -1", "temperature"),
        ("/temp nan", "temperature"),
        ("/tokens 0", "max_new_tokens"),
        ("/tokens 1.5", "max_new_tokens"),
        ("/topk -3", "top_k"),
        ("/topp 0", "top_p"),
        ("/topp 2", "top_p"),
        ("/seed -1", "seed"),
        ("/seed true", "seed"),
    ],
)
def test_a_bad_value_costs_one_sentence_and_keeps_the_old_one(console, shown, line, field):
    assert console.handle(line)
    sentence = "".join(shown)
    assert sentence.startswith(f"sampling.{field}: ")
    assert sentence.endswith(".\n")
    assert sentence.count("\n") == 1
    assert console.sampling == SHORT


def test_a_new_setting_counts_for_the_next_answer(console, shown, checkpoint):
    console.handle("/seed 4")
    shown.clear()
    console.handle("What")
    wanted = generate_text(checkpoint, "What", SHORT.model_copy(update={"seed": 4}))
    assert "".join(shown) == wanted + "\n"


def test_load_opens_another_model(console, shown, checkpoint_folder, checkpoint):
    assert console.handle(f"/load {checkpoint_folder}")
    assert console.model is not checkpoint
    assert console.name == str(checkpoint_folder)
    assert "".join(shown) == f"Loaded {checkpoint_folder}.\n"


@pytest.mark.parametrize("argument", ["", " no/such/folder", " pyproject.toml"])
def test_load_of_what_is_no_model_keeps_the_old_one(console, shown, checkpoint, argument):
    assert console.handle(f"/load{argument}")
    assert console.model is checkpoint
    assert console.name == "small"
    assert "".join(shown).count("\n") == 1
    assert argument.strip() in "".join(shown)


def test_info_names_the_model_and_the_settings(console, shown, checkpoint):
    assert console.handle("/info")
    info = "".join(shown)
    assert info.startswith("small: ")
    for part in (
        f"{checkpoint.model.num_parameters():,} parameters",
        "2 layers",
        "32 characters of context",
        f"{checkpoint.tokenizer.vocab_size} tokens",
        "max_new_tokens 12",
        "temperature 0.8",
    ):
        assert part in info


def test_help_names_every_command(console, shown):
    assert console.handle("/help")
    for command in (
        "temp",
        "tokens",
        "topk",
        "topp",
        "seed",
        "again",
        "load",
        "info",
        "help",
        "quit",
    ):
        assert f"/{command}" in "".join(shown)


@pytest.mark.parametrize("line", ["/frobnicate 3", "/* a comment", "/r/x", "/", "//", " /temp 1"])
def test_what_is_no_command_is_a_prompt(console, shown, checkpoint, line):
    assert console.handle(line)
    assert "".join(shown) == generate_text(checkpoint, line, SHORT) + "\n"
    assert console.sampling == SHORT


@pytest.mark.parametrize(
    ("line", "meant"), [("/tmep 1", "/temp"), ("/TEMP 1", "/temp"), ("/temperature 1", "/temp")]
)
def test_a_misspelt_command_is_asked_about(console, shown, checkpoint, line, meant):
    word = line.split()[0]
    assert console.handle(line)
    assert "".join(shown).startswith(f"Do you mean {meant}?")
    assert f"\\{word}" in "".join(shown)
    shown.clear()
    assert console.handle(f"\\{line}")
    assert "".join(shown) == generate_text(checkpoint, line, SHORT) + "\n"


@pytest.mark.parametrize(
    ("line", "prompt"), [("a\\nb", "a\nb"), ("a\\\\nb", "a\\nb"), ("a\\b", "a\\b"), ("\\/a", "/a")]
)
def test_a_backslash_escapes_a_line_break_itself_and_a_slash(
    console, shown, checkpoint, line, prompt
):
    assert console.handle(line)
    assert "".join(shown) == generate_text(checkpoint, prompt, SHORT) + "\n"


def test_again_goes_on_from_the_last_prompt_with_the_next_seed(console, shown, checkpoint):
    assert console.handle("/again")
    assert "".join(shown).startswith("There is no prompt yet")
    console.handle("What")
    shown.clear()
    assert console.handle("/again")
    again = generate_text(checkpoint, "What", SHORT.model_copy(update={"seed": 1}))
    assert "".join(shown) == again + "\n"


def test_without_a_seed_each_text_gets_a_fresh_one(checkpoint, shown):
    sampling = SamplingConfig(max_new_tokens=12)
    console = TinyLLMConsole(checkpoint, "small", load_model, sampling, shown.append)
    seeds = []
    for _ in range(3):
        console.handle("What")
        seeds.append(console.sampling.seed)
    assert len(set(seeds)) == 3
    shown.clear()
    console.handle("/seed")
    assert "".join(shown) == f"seed = fresh for each text; of the last: {seeds[-1]}\n"
    console.handle("/seed 5")
    console.handle("What")
    assert console.sampling.seed == 5
    console.handle("/seed fresh")
    console.handle("What")
    assert console.sampling.seed != 5


def test_whatever_goes_wrong_in_opening_another_model_is_one_sentence(checkpoint, shown):
    def load(name):
        raise RecursionError(f"too deep: \x1b[31m {name}")

    console = TinyLLMConsole(checkpoint, "small", load, SHORT, shown.append)
    assert console.handle("/load x")
    assert "".join(shown) == "Cannot open x: too deep: \\x1b[31m x.\n"
    assert console.model is checkpoint


@pytest.mark.parametrize("line", ["/quit", "/exit", "/quit  "])
def test_quit_ends_the_console(console, shown, line):
    assert not console.handle(line)
    assert shown == []


def test_run_handles_lines_until_quit(console, shown):
    lines = iter(["/seed 5", "/quit", "/seed 6"])
    console.run(lines)
    assert console.sampling.seed == 5
    assert list(lines) == ["/seed 6"]
    assert "".join(shown).startswith("tinyllm: small.")


def test_run_ends_with_its_lines(console, shown):
    console.run(iter(["/topk 3"]))
    assert last_line(shown) == "top_k = 3"


def test_an_interruption_stops_the_answer_only(checkpoint):
    shown = []

    def write(piece):
        if len(shown) == 5:
            shown.append("^C")
            raise KeyboardInterrupt
        shown.append(piece)

    console = TinyLLMConsole(checkpoint, "small", load_model, SHORT, write)
    assert console.handle("What")
    answer = generate_text(checkpoint, "What", SHORT)
    assert "".join(shown) == answer[:8] + "^C [stopped]\n"
    shown[:] = [""] * 6
    assert console.handle("What")
    assert "".join(shown) == answer + "\n"


def test_without_a_writer_the_console_writes_to_the_screen(checkpoint, capsys):
    TinyLLMConsole(checkpoint, "small", load_model).handle("/topk 2")
    assert capsys.readouterr().out == "top_k = 2\n"


def test_piped_lines_come_without_their_ends_and_without_a_history(monkeypatch, tmp_path):
    piped = io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbfone\r\n\n two \nlast"))
    monkeypatch.setattr("sys.stdin", piped)
    assert list(read_lines(tmp_path / "state" / "history")) == ["one", "", " two ", "last"]
    assert not (tmp_path / "state").exists()


def test_a_piped_line_that_is_not_utf8_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"one\ntw\xff\n")))
    lines = read_lines(tmp_path / "history")
    assert next(lines) == "one"
    with pytest.raises(TinyLLMError, match="standard input, line 2 is not UTF-8"):
        next(lines)
