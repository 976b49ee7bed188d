"""The command line as a whole: quick help, every command, exit codes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tinyllm import __version__
from tinyllm.app.cli import main

PROGRAM = str(Path(sys.executable).with_name("tinyllm"))
COMMANDS = main.list_commands(None)
HELP = """
import sys
from tinyllm.app.cli import main
main(["--help"], standalone_mode=False)
print("LOADED", *sorted({name.partition(".")[0] for name in sys.modules}))
"""


def run(*arguments):
    """The program in a process of its own."""
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, check=False)


def test_help_lists_every_command_with_a_sentence():
    result = run("--help")
    assert result.returncode == 0
    listed = re.findall(
        r"^  ([a-z]+)  +[A-Z]", result.stdout.partition("Commands:")[2], re.MULTILINE
    )
    assert listed == COMMANDS
    assert {"prepare", "tokenize", "train", "evaluate", "export", "generate"} <= set(listed)


def loaded_by(code):
    """Packages that are loaded, beside Python's own, after a program that prints them last."""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return set(result.stdout.partition("LOADED")[2].split()) - sys.stdlib_module_names


def test_help_is_instant_for_it_loads_nothing_but_click():
    plain = loaded_by(HELP.splitlines()[1] + "\n" + HELP.splitlines()[-1])
    assert loaded_by(HELP) - plain == {"click", "tinyllm"}


def test_every_command_has_a_module_of_its_name_or_is_its_rooms():
    for name in COMMANDS:
        command = main.get_command(None, name)
        assert command.name == name
        place = command.callback.__module__
        assert re.fullmatch(rf"tinyllm\.(app\.commands\.{name}|[a-z]+\.command)", place), place


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_command_explains_itself(name, flag):
    result = CliRunner().invoke(main, [name, flag], prog_name="tinyllm")
    assert result.exit_code == 0
    usage, _, body = result.stdout.partition("\n\n")
    assert usage.startswith(f"Usage: tinyllm {name}")
    assert body.partition("Options:")[0].strip()
    assert result.stderr == ""


@pytest.mark.parametrize("name", ["prepare", "params"])
def test_light_commands_import_neither_torch_nor_mlflow(name):
    code = HELP.replace('["--help"]', f'["{name}", "--help"]')
    loaded = loaded_by(code)
    assert "pydantic" in loaded
    assert not loaded & {"torch", "mlflow"}


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["--nonsense"], ["prepare", "--nonsense"], ["prepare"], ["params", "extra"]],
)
def test_what_the_command_line_does_not_know_exits_with_2(arguments):
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error: " in result.stderr


def test_an_unknown_command_exits_with_2_in_a_process_too():
    result = run("nonsense")
    assert result.returncode == 2
    assert "No such command 'nonsense'" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_failure_is_one_sentence_and_no_traceback(tmp_path):
    result = run("prepare", "--out", str(tmp_path / "out"), "--source", str(tmp_path / "none"))
    assert result.returncode == 1
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert line.startswith(
        f"Error: There is no corpus at {tmp_path / 'none'}, which cannot be found;"
    )


def test_the_version_is_told():
    result = CliRunner().invoke(main, ["--version"], prog_name="tinyllm")
    assert result.output.strip() == f"tinyllm, version {__version__}"


def test_the_program_works_in_any_folder(tmp_path):
    result = subprocess.run(
        [PROGRAM, "params"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "`train.learning_rate`" in result.stdout
    assert list(tmp_path.iterdir()) == []
