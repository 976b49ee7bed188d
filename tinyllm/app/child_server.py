"""A server as a child process, for as long as the terminal that it was started in."""

import contextlib
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
        SystemExit: always; with the server's exit status if it ends by itself.
    """
    for number in _ENDS:
        signal.signal(number, _stop)
    # in a separate process group: only this process hears the terminal, and ends the others
    server = subprocess.Popen(command, env=environment, start_new_session=True)  # noqa: S603 - ours
    try:
        begin(server)
        sys.exit(server.wait())
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
    """End the server with its workers, whatever group those are in."""
    try:
        server = psutil.Process(pid)
        group = [server, *server.children(recursive=True)]
    except psutil.NoSuchProcess:
        group = []
    for process in group:
        _send(process, signal.SIGTERM)
    _, left = psutil.wait_procs(group, _PATIENCE)
    for process in left:
        _send(process, signal.SIGKILL)


def _send(process: psutil.Process, number: int) -> None:
    with contextlib.suppress(psutil.Error):
        process.send_signal(number)
