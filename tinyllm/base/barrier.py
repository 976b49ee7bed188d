"""The outermost handler of a process: whatever goes wrong is told in one sentence.

The traceback of what nobody foresaw goes to a log file, which the sentence names.
"""

import contextlib
import errno
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from tinyllm.base.environment import fence_process
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.files import working_folder
from tinyllm.base.streams import drop_output, settle_streams
from tinyllm.base.text import plain

# set by `--debug`, for this process and those that it starts
DEBUG = "TINYLLM_DEBUG"
_LONGEST = 300
_LARGEST_LOG = 1_000_000
_FULL = {errno.ENOSPC, errno.EDQUOT}
_OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "Unable to allocate")


class Guarded(click.Command):
    """A command, or a group, whose every failure is one sentence and an exit code."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", {"help_option_names": ["-h", "--help"]})
        super().__init__(*args, **kwargs)
        # click's mark for "do not rewrap", which a docstring writes as two characters
        self.help = self.help and self.help.replace("\\b\n", "\b\n")
        self.params.append(_debug_option())

    def main(  # type: ignore[override]  # click's overloads add nothing here
        self, args: Sequence[str] | None = None, *, standalone_mode: bool = True, **extra: Any
    ) -> Any:
        """Run the command behind the barrier, and exit."""
        if not standalone_mode:
            return super().main(args, standalone_mode=False, **extra)
        with guarded(str(extra.get("prog_name") or "tinyllm")):
            code = super().main(args, standalone_mode=False, **extra)
            sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)


@contextlib.contextmanager
def guarded(name: str) -> Iterator[None]:
    """A barrier around a whole process, which is made independent of what it inherited first."""
    settle_streams()
    with barrier(name):
        fence_process()
        yield


@contextlib.contextmanager
def barrier(name: str) -> Iterator[None]:
    """Let no exception out of the block but `SystemExit`.

    Args:
        name: of the command or process, for the message.
    """
    try:
        yield
    except BrokenPipeError:
        # the reader has seen enough
        drop_output()
        sys.exit(128 + signal.SIGPIPE)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("Stopped.", err=True)
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        sys.exit(tell(error, name))


def tell(error: Exception, name: str) -> int:
    """Print an error to standard error, and return the exit code."""
    drop_output()
    expected = isinstance(error, TinyLLMError)
    text = describe(error, name)
    details = _redacted("".join(traceback.format_exception(error)))
    if not expected and (log := _keep(details)):
        text += f" The details are in {log}."
    if os.environ.get(DEBUG):
        click.echo(details, err=True, nl=False)
    click.secho(f"Error: {plain(_redacted(text))}", fg="red", err=True)
    return error.exit_code if isinstance(error, TinyLLMError) else 1


def describe(error: BaseException, name: str) -> str:
    """The sentence for an error."""
    message = " ".join(str(error).split())
    if isinstance(error, TinyLLMError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and (package := missing_package(error)):
        return (
            f"This needs {package}, which is not installed; install everything that the pipeline "
            f"needs with: pip install 'tinyllm[pipeline]'."
        )
    if isinstance(error, MemoryError) or any(words in message for words in _OUT_OF_MEMORY):
        return (
            f"There is not enough memory for '{name}'; end other programs or raise the limit. If "
            f"this is a stage, lower train.batch_size, evaluate.eval_batch_size, the sizes in the "
            f"section model, or the length of the text."
        )
    if isinstance(error, OSError):
        return _describe_os_error(error, message, name)
    shown = f": {message[:_LONGEST]}" if message else ""
    return f"'{name}' failed unexpectedly ({type(error).__name__}{shown})."


def missing_package(error: ModuleNotFoundError) -> str:
    """The package that an import did not find; empty if it is a module of ours."""
    package = (error.name or "").partition(".")[0]
    return "" if package == "tinyllm" else package


def _describe_os_error(error: OSError, message: str, name: str) -> str:
    place = error.filename if isinstance(error.filename, str) else ""
    why = error.strerror or message
    if error.errno in _FULL:
        where = f" at {place}" if place else ""
        return f"'{name}' cannot go on, since the disk is full{where}; make room and run it again."
    if place:
        return f"'{name}' cannot go on: {place}: {why}."
    return f"'{name}' cannot go on, since something cannot be read or written: {why}."


def _redacted(text: str) -> str:
    from tinyllm.base.events import find_watcher  # noqa: PLC0415 - slow, and --help does without

    with contextlib.suppress(Exception):
        watcher = find_watcher()
        return watcher.without_secrets(text) if watcher else text
    return "(an error that cannot be shown)"


def _keep(details: str) -> Path | None:
    """Append to the log of errors; return its path, or None if nothing can be written."""
    logs, temporary = working_folder() / "logs", Path(tempfile.gettempdir())
    paths = [temporary / f"tinyllm-errors-{os.getuid()}.log"]
    if logs.parent.is_dir():
        paths.insert(0, logs / "errors.log")
    for path in paths:
        with contextlib.suppress(OSError):
            path.parent.mkdir(exist_ok=True)
            full = path.exists() and path.stat().st_size > _LARGEST_LOG
            with path.open("w" if full else "a", encoding="utf-8", errors="replace") as file:
                path.chmod(0o600)
                file.write(f"{' '.join(sys.argv[:2])}\n{details}\n")
            return path
    return None


def _debug_option() -> click.Option:
    def remember(_context: click.Context, _option: click.Parameter, value: bool) -> None:
        if value:
            os.environ[DEBUG] = "1"

    text = "Show where in the program an error came from."
    return click.Option(
        ["--debug"], is_flag=True, expose_value=False, is_eager=True, callback=remember, help=text
    )
