"""A process that keeps an experiment: it makes the copy, runs DVC in it, and collects the result.

    python -m tinyllm.app.experiments.keeper

reads an `Order` from its standard input. When that ends, because whoever gave the order has asked
for it or was killed, the keeper stops DVC and all processes below it like Ctrl-C, and deletes the
copy. While it lives it holds a lock, so an experiment never runs twice at once, on any machine.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
from filelock import FileLock, Timeout

from tinyllm.app.experiments.copies import Snapshot, collect, make_copy
from tinyllm.base.barrier import describe
from tinyllm.base.environment import child_environment
from tinyllm.formats.closure import ROOT

# seconds between two looks at whether to stop
_POLL = 0.2
# seconds that DVC has to end, and a keeper of the same experiment that was given up
_PATIENCE = 60.0
_LONGEST_WAIT = 2 * _PATIENCE


@dataclass(frozen=True)
class Order:
    """An experiment to run; paths are absolute.

    Attributes:
        name: of the experiment; it is not collected if the target is not the last stage.
        snapshot: what to copy.
        folder: for the copy; a lock lies beside it.
        overrides: parameters, as `dvc exp run -S` takes them.
        target: the last stage to run.
        keep: whether the result is an experiment of the project.
        log: file for DVC's output.
        environment: variables for the stages.
    """

    name: str
    snapshot: Snapshot
    folder: str
    overrides: tuple[str, ...]
    target: str
    keep: bool
    log: str
    environment: Mapping[str, str]


class Keeper:
    """The process, seen from who gives the order; a context manager that stops it at the end."""

    def __init__(self, order: Order) -> None:
        self.code: int | None = None
        self._group: int | None = None
        self._process = subprocess.Popen(  # noqa: S603 - this very Python
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=child_environment(PYTHONPATH=str(ROOT)),
            start_new_session=True,
        )
        assert self._process.stdin is not None  # noqa: S101 - as asked for
        assert self._process.stdout is not None  # noqa: S101 - as asked for
        self._orders, self._said = self._process.stdin, self._process.stdout
        self._orders.write(json.dumps(asdict(order)).encode() + b"\n")

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until it has ended; return whether it works on.

        `code` is then the exit code of DVC, None if the keeper was killed.
        """
        if not select.select([self._said], [], [], seconds)[0]:
            return True
        line = self._said.readline()
        if not line:
            return False
        said = json.loads(line)
        self._group = said.get("group", self._group)
        self.code = said.get("code", self.code)
        return True

    def stop(self) -> None:
        """Ask it to stop."""
        with contextlib.suppress(OSError):
            self._orders.close()

    def __enter__(self) -> Self:
        """Nothing to do: it works already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop it, and wait until nothing of it is left."""
        self.stop()
        while self.wait(_PATIENCE):
            pass
        self._said.close()
        self._process.wait()
        if self.code is None and self._group is not None:
            # somebody killed the keeper
            end_group(self._group)


def lock_of(folder: Path) -> FileLock:
    """The lock of the keeper whose copy is at `folder`."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(folder.with_name(f"{folder.name}.lock"), timeout=_LONGEST_WAIT)


def end_group(group: int) -> None:
    """Interrupt a group of processes like Ctrl-C, so that DVC cleans up; kill it after a while."""
    deadline = time.monotonic() + _PATIENCE
    if _lives(group):
        _signal(group, signal.SIGINT)
    while _lives(group):
        time.sleep(0.1)
        if time.monotonic() > deadline:
            _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _lives(group: int) -> bool:
    """Whether a process of the group is left, other than zombies."""
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def _keep(order: Order, stopped: threading.Event) -> int:
    """Do what was ordered; return the exit code of DVC.

    Raises:
        TinyLLMError: git fails.
    """
    folder = Path(order.folder)
    sets = [word for text in order.overrides for word in ("-S", text)]
    name = ["-n", order.name] if order.keep else []
    try:
        project = make_copy(order.snapshot, folder)
        with Path(order.log).open("ab") as output:
            process = subprocess.Popen(  # noqa: S603 - a fixed command with checked parameters
                [sys.executable, "-m", "dvc", "exp", "run", *name, *sets, order.target],
                cwd=project,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=child_environment(**order.environment),
                start_new_session=True,
            )
        _tell(group=process.pid)
        while process.poll() is None and not stopped.wait(_POLL):
            pass
        # also what DVC leaves if it is killed
        end_group(process.pid)
        code = process.wait()
        if code == 0 and order.keep:
            collect(order.snapshot, folder, order.name)
        return code
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _tell(**facts: Any) -> None:
    # nobody listens if whoever gave the order is dead
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(facts).encode() + b"\n")


def main() -> None:
    """Keep an experiment, as a process that is nobody's child: Ray kills those of its workers."""
    if os.fork():
        os._exit(0)
    given = json.loads(sys.stdin.readline())
    order = Order(**{**given, "snapshot": Snapshot(**given["snapshot"])})
    stopped = threading.Event()
    # stopping begins with it, and what a shell runs in its background would pass on to DVC that it
    # is ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_listen, args=(stopped,), daemon=True).start()
    code = 1
    try:
        with lock_of(Path(order.folder)):
            code = 1 if stopped.is_set() else _keep(order, stopped)
    except Timeout:
        _complain(order, f"{order.name} is still running, here or on another machine.")
    # without a code, the keeper would be taken for killed, and tried again
    except Exception as error:
        _complain(order, describe(error, order.name))
    _tell(code=code)


def _listen(stopped: threading.Event) -> None:
    sys.stdin.read()
    stopped.set()


def _complain(order: Order, sentence: str) -> None:
    with contextlib.suppress(OSError), Path(order.log).open("a", encoding="utf-8") as log:
        log.write(f"Error: {sentence}\n")


if __name__ == "__main__":
    main()
