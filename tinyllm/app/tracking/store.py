"""Which MLflow store to use, and how to open it."""

import os
import sys
from pathlib import Path
from typing import Any

from tinyllm.app.logger import configure_external_loggers
from tinyllm.app.redaction import (
    hide_in_log,
    hide_in_tracebacks,
    take_password_from_url,
    without_secrets,
)
from tinyllm.app.tracking.database import database_path, make_ready
from tinyllm.app.tracking.journal import forget_deliveries
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.files import repository_root, working_folder

# by default MLflow waits four minutes for a server that is down
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
# no line with the server's address for each run that ends
_QUIET = {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}


def journal_folder() -> Path:
    """The folder of the journals of all runs."""
    return working_folder() / "journal"


def tracking_uri() -> str:
    """`MLFLOW_TRACKING_URI`, or the SQLite file at the root of the main repository.

    A relative SQLite path starts there, too. A server's password is moved from the URL to MLflow's
    variable; a database's stays, so show `shown_uri` instead.
    """
    take_password_from_url()
    uri = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    path = database_path(uri)
    if path is None or path.is_absolute():
        return uri
    _, mark, query = uri.partition("?")
    return f"sqlite:///{repository_root() / path}{mark}{query}"


def shown_uri(uri: str | None = None) -> str:
    """The store's URI as it may be shown and recorded: without name, password and query."""
    return without_secrets(uri or tracking_uri())


def connect(uri: str | None = None) -> Any:
    """Return an `MlflowClient`; a SQLite store is created first, by one process at a time.

    What had been delivered to a store that no longer exists counts as not delivered.

    Raises:
        TinyLLMError: a SQLite store cannot be opened or made.
        mlflow.exceptions.MlflowException: another store cannot be opened.
    """
    configure_external_loggers()
    for name, value in {**_PATIENCE, **_QUIET}.items():
        os.environ.setdefault(name, value)
    import mlflow

    hide_in_log("mlflow")

    uri = uri or tracking_uri()
    mlflow.set_tracking_uri(uri)
    if (path := database_path(uri)) is not None:
        make_ready(path, lambda: forget_deliveries(journal_folder(), uri))
    return mlflow.MlflowClient(uri)


def experiment_id(client: Any, name: str) -> str:
    """The experiment's id; creates it if needed, with its artifacts beside a SQLite store."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    local = tracking_uri().startswith("sqlite:")
    location = (repository_root() / "mlruns").as_uri() if local else None
    try:
        return str(client.create_experiment(name, artifact_location=location))
    except MlflowException:
        # another process was faster
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return str(found.experiment_id)


if __name__ == "__main__":
    # a kill would leave a store that MLflow creates itself unusable
    hide_in_tracebacks()
    try:
        connect()
    except TinyLLMError as error:
        sys.exit(f"Error: {without_secrets(str(error))}")
