"""Cases: every error is one sentence, also on streams that are closed, full or narrow."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

from tests.campaign.case import Mechanism, case
from tests.campaign.world import TRACEBACK, World
from tests.project import clean_environment

BARRIER = Mechanism.BARRIER
_TOKENIZE = "tinyllm tokenize --prepared data/prepared --out tokens"
_GENERATE = "tinyllm generate --max-new-tokens 20 O"
_PROGRAM = str(Path(sys.executable).parent / "tinyllm")
_NARROW = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def _streams(name: str, line: str, holds: str, code: int, *, made: str = "") -> None:
    """Register a case of a command line with redirections."""

    def check(world: World) -> None:
        place = world.outs("data/prepared", "models/checkpoint")
        result = world.shell(f"set -o pipefail; {line}", cwd=place)
        assert result.code == code, str(result)
        assert "Exception ignored" not in result.err
        if made:
            assert (place / made).is_file()

    check.__name__ = name
    case(BARRIER, f"`{line}`", holds)(check)


_WRITTEN = "the tokens are written, exit code 0"
_streams("work_output_closed", f"{_TOKENIZE} >&-", _WRITTEN, 0, made="tokens/meta.json")
_streams("work_error_closed", f"{_TOKENIZE} 2>&-", _WRITTEN, 0, made="tokens/meta.json")
_streams("work_all_closed", f"{_TOKENIZE} <&- >&- 2>&-", _WRITTEN, 0, made="tokens/meta.json")
_streams("work_output_full", f"{_TOKENIZE} > /dev/full", _WRITTEN, 0, made="tokens/meta.json")
_streams("work_error_full", f"{_TOKENIZE} 2> /dev/full", _WRITTEN, 0, made="tokens/meta.json")
_streams("work_pipe_broken", f"{_TOKENIZE} | true", _WRITTEN, 0, made="tokens/meta.json")
_TOLD = "a sentence, exit code 1"
_streams("text_output_closed", f"{_GENERATE} >&-", _TOLD, 1)
_streams("text_output_full", f"{_GENERATE} > /dev/full", _TOLD, 1)
_streams("text_error_closed", f"{_GENERATE} 2>&-", "the text, exit code 0", 0)
_streams("text_input_closed", "tinyllm generate --max-new-tokens 3 <&-", "a text", 0)
_streams("params_output_full", "tinyllm params > /dev/full", _TOLD, 1)
_streams("help_output_full", "tinyllm --help > /dev/full", _TOLD, 1)
_streams("help_output_closed", "tinyllm train --help >&-", _TOLD, 1)
_streams("help_everything_closed", "tinyllm train --help <&- >&- 2>&-", "exit code 1", 1)
_streams("params_pipe_broken", "tinyllm params | true", "silence, as of any program", 141)


@case(BARRIER, "a prompt and a text in a terminal without UTF-8", "no traceback, exit code 0")
def narrow_locale(world: World) -> None:
    """A plain C locale, as in cron jobs and old containers."""
    place = world.outs("models/checkpoint")
    world.shell(f"{_GENERATE}é", cwd=place, env=_NARROW).succeeded()


@case(BARRIER, "`PYTHONIOENCODING=ascii`, a text with other characters", "shown as escapes")
def narrow_output(world: World) -> None:
    """The stream cannot hold it; the program can say what it is."""
    place = world.outs("models/checkpoint")
    env = {"PYTHONIOENCODING": "ascii"}
    assert "\\xe9" in world.shell(f"{_GENERATE}é", cwd=place, env=env).succeeded()


@case(BARRIER, "Ctrl-C while a model is opened", "'Stopped.', exit code 130")
def interrupted(world: World) -> None:
    """At any moment of a command that has nothing to finish."""
    place = world.outs("models/checkpoint")
    process = subprocess.Popen(
        # a shell's background jobs, which these tests may be, ignore it
        ["env", "--default-signal=INT", _PROGRAM, "generate", "--max-new-tokens", "1000000", "O"],
        cwd=place,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    try:
        _, error = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, TRACEBACK in error.decode()) == (130, False), error.decode()
    assert "Stopped." in error.decode()


@case(BARRIER, "the terminal of `train` is closed", "the training goes on or ends, no traceback")
def terminal_closed(world: World) -> None:
    """The terminal's other end is closed while a run that ignores SIGHUP writes to it."""
    place = world.outs("data/tokens")
    main, child = pty.openpty()
    flags = ["--max-steps", "3", "--warmup-steps", "0", "--eval-interval", "1", "--no-tracking"]
    places = ["--tokens", "data/tokens", "--out", "m", "--reports", "r"]
    process = subprocess.Popen(
        ["nohup", _PROGRAM, "train", *places, *flags],
        cwd=place,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=child,
        stderr=child,
        start_new_session=True,
    )
    os.close(child)
    os.close(main)
    assert process.wait(60) == 0
    assert (place / "m/model.safetensors").is_file()


@case(
    BARRIER, "an error of the program itself, with --debug and without", "a sentence; the details"
)
def debugged(world: World) -> None:
    """What nobody foresaw goes to a log, which the sentence names."""
    place = world.outs("params.yaml")
    spoiled = "import tinyllm.app.commands.params as p; p.SECTIONS = 3; p.params.main([])"
    told = world.run("python", "-c", spoiled, cwd=place).told("failed unexpectedly", code=1)
    log = Path(told.rpartition("The details are in ")[2].rstrip("."))
    assert "AttributeError" in log.read_text(encoding="utf-8")


@case(BARRIER, "a `--model` of 5,000 characters", "a sentence")
def long_name(world: World) -> None:
    """Longer than any file's name may be."""
    world.tinyllm("generate", "--model", "x" * 5000, "O").told()


@case(BARRIER, "`summary` in a fresh clone, and in an empty folder", "a sentence with the command")
def nothing_ran(world: World) -> None:
    """Before the first run."""
    world.tinyllm("summary", cwd=world.fresh()).told("make repro")
    (world.folder / "empty").mkdir()
    world.tinyllm("summary", cwd=world.folder / "empty").told("make repro")


@case(BARRIER, "an unknown command, option, choice and a missing option", "usage, exit code 2")
def usage(world: World) -> None:
    """Mistyped commands."""
    for words in (
        ("trian",),
        ("train", "--epochs", "3"),
        ("generate", "--runtime", "jax"),
        ("train",),
    ):
        world.tinyllm(*words).told(code=2)


@case(BARRIER, "memory for a context that is not there", "a sentence")
def out_of_memory(world: World) -> None:
    """A limit on the address space, below what the command needs."""
    place = world.outs("models/checkpoint", "data/tokens")
    flags = ("--batch-size", "4000", "--max-steps", "1", "--warmup-steps", "0", "--no-tracking")
    places = ("--tokens", "data/tokens", "--out", "m", "--reports", "r", "--sequence-length", "512")
    result = world.tinyllm("train", *places, *flags, cwd=place, memory=5000)
    assert "memory" in result.told()
