"""A server as a child process, for as long as the terminal that it was started in."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from types import FrameType

import psutil

from tinyllm.base.errors import TinyLLMError

# seconds in which a server may end by itself
_PATIENCE = 5.0
_PR_SET_PDEATHSIG = 1
_ENDS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


Server = subprocess.Popen[bytes]


def keep_server(
    command: Sequence[str],
    environment: Mapping[str, str],
    begin: Callable[[Server], None] = lambda _: None,
) -> None:
    """Run a server until it or this process is asked to end, and end with all of it.

    Args:
        command: the server's.
        environment: see `child_environment`.
        begin: called with the server once it was started.

    Raises:
        SystemExit: with the server's exit status if it ends by itself.
        TinyLLMError: something else ended it.
    """
    for number in _ENDS:
        signal.signal(number, _stop)
    # in a separate process group: only this process hears the terminal, and ends the others
    server = subprocess.Popen(  # noqa: S603 - our own command
        command,
        env=environment,
        start_new_session=True,
        preexec_fn=_end_with_parent,  # noqa: PLW1509 - it calls nothing that another thread may hold
    )
    try:
        begin(server)
        status = server.wait()
        if status < 0:
            raise TinyLLMError(
                f"The server was ended by {signal.Signals(-status).name}; start it again."
            )
        sys.exit(status)
    finally:
        _end(server.pid)


def check_port(host: str, port: int, remedy: str) -> None:
    """Refuse a port that cannot be used.

    Args:
        host: the address to listen at.
        port: its number.
        remedy: the end of the sentence, such as "choose another: --port 5002".

    Raises:
        TinyLLMError: another program has it, or it is none of ours.
    """
    try:
        family, kind, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as trial:
            # as the server itself will: a port that was closed a moment ago is free
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(place)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise TinyLLMError(f"Port {port} of {host} cannot be used ({why}); {remedy}") from None


def _stop(_number: int, _frame: FrameType | None) -> None:
    # a second one must not interrupt the end
    for number in _ENDS:
        signal.signal(number, signal.SIG_IGN)
    sys.exit(0)


def _end(pid: int) -> None:
    """End the server with its workers: its group, and what left that.

    The group is there as long as any of it lives, also if the server itself was killed.
    """
    try:
        left = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        left = []
    group = [process for process in psutil.process_iter() if _group_of(process) == pid]
    everyone = [*group, *(process for process in left if process not in group)]
    for process in everyone:
        _send(process, signal.SIGTERM)
    _, still = psutil.wait_procs(everyone, _PATIENCE)
    for process in still:
        _send(process, signal.SIGKILL)


def _group_of(process: psutil.Process) -> int | None:
    try:
        return os.getpgid(process.pid)
    except OSError:
        return None


def _send(process: psutil.Process, number: int) -> None:
    with contextlib.suppress(psutil.Error):
        process.send_signal(number)


def _end_with_parent() -> None:
    """Let Linux end this process when its parent is killed, which then cannot do it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
