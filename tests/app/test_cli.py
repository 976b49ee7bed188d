"""The command line as a whole: quick help, every command, exit codes."""

import re
import resource
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


def cpu_seconds():
    """What all processes that this one waited for have computed."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_help_lists_every_command_with_a_sentence():
    result = run("--help")
    assert result.returncode == 0
    listed = re.findall(
        r"^  ([a-z]+)  +[A-Z]", result.stdout.partition("Commands:")[2], re.MULTILINE
    )
    assert listed == COMMANDS
    assert {"prepare", "tokenize", "train", "evaluate", "export", "generate"} <= set(listed)


def test_help_is_instant():
    def seconds():
        before = cpu_seconds()
        assert run("--help").returncode == 0
        return cpu_seconds() - before

    seconds()  # the first run may have to compile the modules
    assert min(seconds() for _ in range(3)) < 0.25


def test_help_imports_no_heavy_library():
    result = subprocess.run(
        [sys.executable, "-c", HELP], capture_output=True, text=True, check=True
    )
    loaded = set(result.stdout.partition("LOADED")[2].split())
    assert {"click", "tinyllm"} <= loaded
    assert not loaded & {"torch", "mlflow", "numpy", "matplotlib", "dvc", "transformers"}


def test_every_command_has_a_module_of_its_name():
    folder = Path(sys.modules["tinyllm"].__file__).parent / "commands"
    modules = {path.stem for path in folder.glob("*.py")}
    assert set(COMMANDS) <= modules


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
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(result.stdout.partition("LOADED")[2].split())
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
    assert line.startswith(f"Error: There is no corpus at {tmp_path / 'none'};")


def test_the_version_is_told():
    result = CliRunner().invoke(main, ["--version"], prog_name="tinyllm")
    assert result.output.strip() == f"tinyllm, version {__version__}"


def test_the_program_works_in_any_folder(tmp_path):
    result = subprocess.run(
        [PROGRAM, "params"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "`train.learning_rate`" in result.stdout
    assert list(tmp_path.iterdir()) == []
