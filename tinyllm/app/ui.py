"""MLflow's page of the project's runs, for as long as the terminal that it was started in.

python -m tinyllm.app.ui 5000
"""

import contextlib
import re
import sys
import time
import urllib.request
from typing import Any

from tinyllm.app.child_server import Server, check_port, keep_server
from tinyllm.app.redaction import hide_in_tracebacks, without_secrets
from tinyllm.app.tracking.champion import CHAMPION, find_aliased, mark_run
from tinyllm.app.tracking.reasons import explained
from tinyllm.app.tracking.setting import tracking_config
from tinyllm.app.tracking.store import connect, experiment_id, shown_uri, tracking_uri
from tinyllm.app.tracking.view import keep_view, page_of
from tinyllm.base.environment import child_environment, fence_process
from tinyllm.base.errors import ConfigError, TinyLLMError

_LONGEST_START = 120.0
_LAST_PORT = 65535


def show(port: int) -> None:
    """Serve MLflow's page until this process is asked to end, and end with all of the server.

    A store that is a server has its own page, so only that page's address is printed.

    Raises:
        TinyLLMError: the port is taken, or the store cannot be opened.
    """
    if tracking_uri().startswith("http"):
        print(f"Runs: {shown_uri().rstrip('/')}/{_start_page()}", flush=True)
        return
    again = f"make ui PORT={port % 60000 + 1}"
    check_port("127.0.0.1", port, f"end the 'make ui' that has it, or choose another: {again}")
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
    keep_server(command, environment, lambda server: _wait(server, port))


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


def _wait(server: Server, port: int) -> None:
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


def main(arguments: list[str]) -> None:
    """Serve at the port that the first argument names."""
    fence_process()
    hide_in_tracebacks()
    port = arguments[0] if arguments else ""
    if not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) <= _LAST_PORT:
        raise ConfigError(f"Name a port from 1 to {_LAST_PORT}, such as: make ui PORT=5000")
    show(int(port))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except TinyLLMError as error:
        print(f"Error: {without_secrets(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)
