"""Cases: text is text, whatever it looks like and however it is encoded."""

import json

from tests.campaign.case import Mechanism, case
from tests.campaign.world import Result, World

TEXT = Mechanism.TEXT
SHORT = ("--max-new-tokens", "5", "--temperature", "0")


def generate(world: World, *arguments: str, **how: object) -> Result:
    """Write five characters after a prompt."""
    place = world.folder / "outs"
    if not place.exists():
        world.outs("models/checkpoint")
    return world.tinyllm("generate", *SHORT, *arguments, cwd=place, **how)


def begins(result: Result, prompt: str) -> None:
    """Assert that the text begins with the prompt and goes on, and that nothing is warned of."""
    assert result.succeeded().startswith(prompt), str(result)
    assert len(result.out) > len(prompt) + 1, str(result)
    assert "never seen" not in result.err, str(result)


@case(TEXT, "`generate '- What'`", "a prompt, continued")
def prompt_with_a_dash(world: World) -> None:
    """A dash and a blank begin a text."""
    begins(generate(world, "- What"), "- What")


@case(TEXT, "`generate '-1 day' --seed 3`: options stand behind the prompt", "continued")
def prompt_that_looks_like_a_number(world: World) -> None:
    """So does a negative number."""
    assert generate(world, "-1 day", "--seed", "3").succeeded().startswith("-1 day")


@case(TEXT, "`generate '--what is this' --stop '-- x'`", "continued; the option keeps its value")
def prompt_with_two_dashes(world: World) -> None:
    """Two dashes as well, and a value that looks like a prompt stays a value."""
    begins(generate(world, "--what is this", "--stop", "-- x"), "--what is this")


@case(TEXT, "`generate -- --help`", "the text after `--` is a prompt")
def prompt_after_two_dashes(world: World) -> None:
    """The usual way out."""
    begins(generate(world, "--", "--help"), "--help")


@case(TEXT, "`generate --temprature 1 What`", "refused; names --temperature, and `--` for a prompt")
def misspelt_option(world: World) -> None:
    """A misspelt option is not taken for a prompt."""
    generate(world, "--temprature", "1", "What").told("--temperature", "prompt", code=2)


def console(world: World, given: str | bytes, **how: object) -> Result:
    """Type lines into a console."""
    place = world.outs("models/checkpoint")
    return world.tinyllm("console", *SHORT, cwd=place, given=given, **how)


@case(TEXT, "console: `/* a comment`, `/r/x`, `/`, `// twice`", "prompts, continued")
def console_prompt_with_a_slash(world: World) -> None:
    """Only a command is a command."""
    lines = ["/* a comment", "/r/x", "/", "// twice"]
    out = console(world, "\n".join(lines)).succeeded(*lines)
    assert "no command" not in out


@case(TEXT, "console: `/tmep 1`", "a hint at /temp, and how to send it as a text")
def console_misspelt_command(world: World) -> None:
    """What is nearly a command is asked about; a backslash makes it a prompt."""
    out = console(world, "/tmep 1\n\\/tmep 1\n").succeeded("/temp?", "\\/tmep")
    assert "\n/tmep 1" in out


@case(TEXT, "console: piped lines that are not UTF-8", "a sentence with the line")
def console_line_not_utf8(world: World) -> None:
    """Piped bytes are text or refused."""
    console(world, b"What\nn\xffo\n").told("line 2", "UTF-8")


@case(
    TEXT,
    "console: `/load` of a 5,000-character name, a file, a broken folder",
    "sentences; goes on",
)
def console_load_of_nonsense(world: World) -> None:
    """The console outlives every name."""
    broken = world.folder / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("[" * 100_000)
    names = ["x" * 5000, "/etc/hostname", str(broken), "a\0b", "models:/[x]@'", "http://[", "~"]
    out = console(world, "".join(f"/load {name}\n" for name in names) + "/topk 3\n").succeeded()
    assert "top_k = 3" in out


@case(TEXT, "console: a CRLF at the end of each line", "no carriage return in the prompt")
def console_crlf(world: World) -> None:
    """A Windows terminal's line ends are not part of a prompt."""
    result = console(world, "What\r\n/topk 2\r\n")
    result.succeeded("top_k = 2")
    assert "never seen" not in result.err + result.out


@case(TEXT, "console: /again", "another text after the same prompt")
def console_again(world: World) -> None:
    """The last prompt can be tried again, with a fresh seed."""
    place = world.outs("models/checkpoint")
    lines = "What news\n/again\n/again\n/again\n"
    out = world.tinyllm("console", "--max-new-tokens", "30", cwd=place, given=lines).succeeded()
    texts = {line for line in out.splitlines() if line.startswith("What news")}
    assert len(texts) > 1, out


@case(
    TEXT, "`generate What` twice; then again with the seed that it named", "fresh, and repeatable"
)
def fresh_seed(world: World) -> None:
    """Two texts differ; the seed on standard error gives one of them again."""
    place = world.outs("models/checkpoint")
    first, second = (world.tinyllm("generate", "What", cwd=place) for _ in range(2))
    assert first.succeeded() != second.succeeded()
    seed = first.err.split("--seed ")[1].split()[0].rstrip(").")
    assert world.tinyllm("generate", "What", "--seed", seed, cwd=place).out == first.out


@case(TEXT, "`generate What --samples 3 --jsonl`", "three different texts, each with its seed")
def several_samples(world: World) -> None:
    """One command, several texts."""
    place = world.outs("models/checkpoint")
    out = world.tinyllm("generate", "What", "--samples", "3", "--jsonl", cwd=place).succeeded()
    rows = [json.loads(line) for line in out.splitlines()]
    assert len({row["text"] for row in rows}) == len({row["seed"] for row in rows}) == 3


def from_file(world: World, name: str, data: bytes, *more: str) -> Result:
    """Continue the prompts of a file."""
    place = world.outs("models/checkpoint")
    (place / name).write_bytes(data)
    return generate(world, "--prompts", name, "--jsonl", *more)


def prompts_of(result: Result) -> list[str]:
    """The prompts in the answer."""
    return [json.loads(line)["prompt"] for line in result.succeeded().splitlines()]


@case(TEXT, ".jsonl with a BOM, CRLF, an empty line in the middle and at the end", "accepted")
def jsonl_from_windows(world: World) -> None:
    """The form of the file is not part of its prompts."""
    data = b'\xef\xbb\xbf{"prompt": "What"}\r\n\r\n{"prompt": "O"}\r\n\r\n'
    assert prompts_of(from_file(world, "p.jsonl", data)) == ["What", "O"]


@case(TEXT, "prompts.txt with a BOM and CRLF", "accepted")
def txt_from_windows(world: World) -> None:
    """The same for plain lines."""
    result = from_file(world, "p.txt", b"\xef\xbb\xbfWhat\r\nO\r\n")
    assert prompts_of(result) == ["What", "O"]
    assert "never seen" not in result.err


@case(TEXT, "prompt file in UTF-16 with a BOM", "accepted")
def utf16_prompts(world: World) -> None:
    """A byte order mark says what the bytes are."""
    assert prompts_of(from_file(world, "p.txt", "What\r\nO\n".encode("utf-16"))) == ["What", "O"]


@case(TEXT, "prompt file in Latin-1", "a sentence with file and line")
def latin1_prompts(world: World) -> None:
    """Bytes that are not UTF-8 are named."""
    from_file(world, "p.txt", "What\ncaf\xe9\n".encode("latin-1")).told("p.txt", "line 2", "UTF-8")


@case(TEXT, "prompt file is binary (an ELF program)", "a sentence with file")
def binary_prompts(world: World) -> None:
    """A program is no text."""
    data = b"\x7fELF\x02\x01\x01" + bytes(range(256)) * 20
    from_file(world, "p.bin", data).told("p.bin", "UTF-8")


@case(TEXT, "half an emoji in JSON, on line 2", "a sentence with file and line")
def half_an_emoji(world: World) -> None:
    """A lone surrogate cannot be written."""
    data = b'{"prompt": "What"}\n{"prompt": "a \\ud83d b"}\n'
    from_file(world, "p.jsonl", data).told("p.jsonl", "line 2")


@case(
    TEXT,
    "JSON nested 100,000 deep, `NaN`, a number of 10,000 digits",
    "sentences with file and line",
)
def nested_prompts(world: World) -> None:
    """No line of JSON breaks the reader."""
    for line in (b"[" * 100_000, b"NaN", b"9" * 10_000, b'{"prompt": ["What"]}', b'"What"'):
        from_file(world, "p.jsonl", b'{"prompt": "O"}\n' + line).told("p.jsonl", "line 2")
        world.folder.joinpath("outs").rename(world.folder / f"outs{len(line)}")


@case(TEXT, "NUL bytes in a prompt", "said to be unknown, not cut off there")
def nul_in_a_prompt(world: World) -> None:
    """NUL is a character like any other."""
    result = from_file(world, "p.txt", b"a\x00b\n")
    assert prompts_of(result) == ["a\0b"]
    assert "x00" in result.err


@case(TEXT, "standard input that is not UTF-8", "a sentence")
def stdin_not_utf8(world: World) -> None:
    """Also without a file."""
    generate(world, given=b"caf\xe9").told("standard input", "UTF-8")


@case(TEXT, "a prompt on the command line that is not UTF-8", "a sentence")
def argument_not_utf8(world: World) -> None:
    """Bytes of the command line are text or refused."""
    place = world.outs("models/checkpoint")
    world.shell(f"tinyllm generate {' '.join(SHORT)} $'a\\xffb'", cwd=place).told("UTF-8")


@case(TEXT, "unknown characters, three prompts", "one line on stderr, nothing inside the text")
def unknown_characters(world: World) -> None:
    """The warning never stands in the text, and comes once."""
    result = from_file(world, "p.txt", "☂ж\nж☂\nж\n".encode())
    assert prompts_of(result) == ["☂ж", "ж☂", "ж"]
    assert len([line for line in result.err.splitlines() if "☂" in line]) == 1, str(result)


@case(TEXT, "`generate 'No ж here' 2>&1`", "the warning stands before the text")
def warning_before_the_text(world: World) -> None:
    """Both streams on one screen stay readable."""
    place = world.outs("models/checkpoint")
    line = f"tinyllm generate {' '.join(SHORT)} 'No ж here' 2>&1"
    out = world.shell(line, cwd=place).succeeded()
    assert "\nNo ж here" in out, out


@case(TEXT, "a file with CRLF on standard input, alphabet without CR", "no unknown character")
def stdin_crlf(world: World) -> None:
    """What was done to the corpus is done to prompts."""
    result = generate(world, given=b"DUKE:\r\nWhat\rnews")
    assert "never seen" not in result.err, str(result)


@case(TEXT, "prompt in NFD, fullwidth and with a ligature; alphabet in NFC", "known", slow=True)
def other_forms_of_a_prompt(world: World) -> None:
    """The same letters in another form are the same letters."""
    place = world.folder
    (place / "t.txt").write_text("caf\u00e9 fin 12 est\u00e1\n" * 400)
    world.tinyllm("prepare", "--source", "t.txt", "--out", "p").succeeded()
    world.tinyllm("tokenize", "--prepared", "p", "--out", "t").succeeded()
    small = "--d-model 16 --num-heads 1 --num-layers 1 --d-ff 16 --sequence-length 16 --no-tracking"
    line = f"tinyllm train --tokens t --out m --reports r --max-steps 2 --warmup-steps 1 {small}"
    world.shell(f"{line} --batch-size 2").succeeded()
    for prompt in ("cafe\u0301 ", "\uff46\uff49\uff4e ", "\ufb01n", "esta\u0301\r\n"):
        result = world.tinyllm("generate", "--model", "m", *SHORT, prompt)
        assert "never seen" not in result.err, str(result)
        assert result.code == 0, str(result)


@case(TEXT, "`generate --model` with 5,000 characters, a URL, brackets", "a sentence")
def nonsense_models(world: World) -> None:
    """Any name is a name."""
    for name in (
        "x" * 5000,
        "http://[::1",
        "[/red]",
        "models:/",
        "file:///nowhere",
        "-",
        "~nobody/x",
    ):
        world.tinyllm("generate", "--model", name, "What").told()


@case(
    TEXT, "`repeat -S` and `sweep -S` with a name in Cyrillic, blanks, quotes", "quoted for Hydra"
)
def override_grammar(world: World) -> None:
    """A nasty name reaches our own check of the corpus, not the grammar of Hydra."""
    place = world.fresh()
    for name in ("Война и мир.txt", "a,b [c]{d}=e.txt", 'it\'s "x" \\.txt', "${x}", "~a", "+a:b"):
        for command in (("repeat", "--seeds", "2"), ("sweep", "-s", "train.learning_rate=[1,2]")):
            told = world.tinyllm(*command, "-S", f"prepare.source={name}", cwd=place).told("corpus")
            assert "lexer" not in told


@case(TEXT, '`repeat -S "prepare.source=Война и мир.txt"` on a real file', "runs", slow=True)
def repeat_with_a_russian_name(world: World) -> None:
    """From the command line through Hydra and DVC to the stage."""
    place = world.made()
    name = "data/Война и [мир], $x='1'.txt"
    text = (place / "data/raw/sample/the-salt-duke.txt").read_text()
    (place / name).write_text(text)
    world.shell("git add -A && git commit -qm text", cwd=place).succeeded()
    command = ("repeat", "--seeds", "2", "-S", f"prepare.source={name}", "-S", "train.max_steps=20")
    world.tinyllm(*command, cwd=place, limit=300).succeeded("Bits per character")


@case(TEXT, "`rollback --why '[/x] :smile:'; history`", "shown as it is", slow=True)
def brackets_in_a_reason(world: World) -> None:
    """A reason is not markup."""
    place = world.made()
    program = (
        "from mlflow import MlflowClient\n"
        "client = MlflowClient('sqlite:///mlflow.db')\n"
        "first = client.get_model_version('tinyllm', '1')\n"
        "client.create_model_version('tinyllm', first.source, first.run_id, tags=first.tags)\n"
    )
    world.run("python", "-c", program, cwd=place).succeeded()
    world.tinyllm("promote", "2", "--force", cwd=place).succeeded()
    world.tinyllm("rollback", "--why", "[/x] [red]a :smile:\x1b[31m", cwd=place).succeeded()
    out = world.tinyllm("history", cwd=place).succeeded()
    assert "\x1b" not in out
    assert "[/x] [red]a :smile:" in " ".join(out.split())


@case(TEXT, "samples.txt with terminal escapes; `summary`", "shown as escapes")
def escapes_in_samples(world: World) -> None:
    """What a model wrote cannot steer the terminal."""
    place = world.outs("reports/train", "reports/evaluate", "models/checkpoint")
    file = place / "reports/evaluate/samples.txt"
    file.write_text(file.read_text() + "\x1b]0;owned\x07[/x]\x1b[2J\n")
    head, _, _ = file.read_text().partition("\n")
    file.write_text(f"{head}\n\x1b]0;owned\x07[/x]\x1b[2J\n")
    out = world.tinyllm("summary", cwd=place).succeeded("[/x]")
    assert "\x1b" not in out
    assert "\x07" not in out


@case(TEXT, "a prompt of 1 MB in torch", "at most 10 s")
def long_prompt(world: World) -> None:
    """A long prompt is read in its pieces, in good time."""
    text = "What news, my lord?\n" * 50_000
    result = generate(world, given=text)
    assert result.succeeded().startswith(text)
    assert result.seconds < 10, f"{result.seconds:.1f} s"


@case(TEXT, "`playground --model` with 5,000 characters, a URL, brackets, bytes", "a sentence")
def nonsense_pages(world: World) -> None:
    """Any name of a page is a name."""
    for name in ("x" * 5000, "http://[::1", "[/red]", "models:/", "-", "*"):
        world.tinyllm("playground", "--print-path", "--model", name).told()
