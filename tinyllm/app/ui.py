"""MLflow's page of the project's runs, for as long as the terminal that it was started in.

python -m tinyllm.app.ui 5000
"""

import contextlib
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from types import FrameType
from typing import Any

import psutil

from tinyllm.app.redaction import hide_in_tracebacks, without_secrets
from tinyllm.app.tracking.champion import CHAMPION, find_aliased, mark_run
from tinyllm.app.tracking.reasons import explained
from tinyllm.app.tracking.setting import tracking_config
from tinyllm.app.tracking.store import connect, experiment_id, shown_uri, tracking_uri
from tinyllm.app.tracking.view import keep_view, page_of
from tinyllm.base.environment import child_environment, fence_process
from tinyllm.base.errors import ConfigError, TinyLLMError

# seconds in which the server may end by itself
_PATIENCE = 5.0
_LONGEST_START = 120.0
_ENDS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


def show(port: int) -> None:
    """Serve MLflow's page until this process is asked to end, and end with all of the server.

    A store that is a server has its own page, so only that page's address is printed.

    Raises:
        TinyLLMError: the port is taken, or the store cannot be opened.
    """
    if tracking_uri().startswith("http"):
        print(f"Runs: {shown_uri().rstrip('/')}/{_start_page()}", flush=True)
        return
    _check_port(port)
    page = _start_page()
    command = [sys.executable, "-m", "mlflow", "ui", "--port", str(port), "--workers", "1"]
    command += ["--app-name", "tinyllm", "--backend-store-uri", tracking_uri()]
    environment = child_environment(
        MLFLOW_DISABLE_TELEMETRY="true",
        DO_NOT_TRACK="true",
        # evaluations of agents
        MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
        TINYLLM_START_PAGE=page,
    )
    for number in _ENDS:
        signal.signal(number, _stop)
    # in a separate process group: only this process hears the terminal, and ends the others
    server = subprocess.Popen(  # noqa: S603 - this very Python
        command, env=environment, start_new_session=True
    )
    try:
        _wait(server, port)
        sys.exit(server.wait())
    finally:
        _end(server.pid)


def _start_page() -> str:
    """The place of the project's runs in MLflow's page, with the best first.

    A store of an earlier version, or of another program, gets the view and the tag now.
    """
    client, config = connect(), tracking_config()
    with explained(f"MLflow at {shown_uri()} does not answer that"):
        experiment = experiment_id(client, config.experiment)
        keep_view(client, experiment)
        _mark_champion(client, config.registered_model)
    return page_of(experiment)


def _mark_champion(client: Any, name: str) -> None:
    from mlflow.exceptions import MlflowException

    # before the first export there is no such model
    with contextlib.suppress(MlflowException):
        champion = find_aliased(client, name, CHAMPION)
        if champion is not None:
            mark_run(client, name, champion, None)


def _wait(server: "subprocess.Popen[bytes]", port: int) -> None:
    """Say where the page is, once it answers."""
    address = f"http://localhost:{port}"
    deadline = time.monotonic() + _LONGEST_START
    while server.poll() is None and time.monotonic() < deadline:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"{address}/health", timeout=5),  # noqa: S310 - our own server
        ):
            print(f"Runs: {address} (Ctrl-C ends it)", flush=True)
            return
        time.sleep(0.1)


def _check_port(port: int) -> None:
    with socket.socket() as place:
        # as the server itself will: a port that was closed a moment ago is free
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            place.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise TinyLLMError(
                f"Port {port} cannot be used ({why}); if another 'make ui' has it, end that, or "
                f"choose another port: make ui PORT={port % 60000 + 1}"
            ) from None


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


def main(arguments: list[str]) -> None:
    """Serve at the port that the first argument names."""
    fence_process()
    hide_in_tracebacks()
    try:
        port = int(arguments[0])
    except (IndexError, ValueError):
        raise ConfigError("Name a port, such as: make ui PORT=5000") from None
    show(port)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except TinyLLMError as error:
        print(f"Error: {without_secrets(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)
