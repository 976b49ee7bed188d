"""Which MLflow store to use, and how to open it."""

import os
import re
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
from tinyllm.app.tracking.address import check_address, database_path, database_uri
from tinyllm.app.tracking.database import make_ready, wrong_schema
from tinyllm.app.tracking.reasons import explained
from tinyllm.app.tracking.relocation import files_of, follow
from tinyllm.app.tracking.view import KIND
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.files import repository_root, working_folder

# by default MLflow waits four minutes for a server that is down
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
# no line with the server's address for each run that ends
_QUIET = {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}

# seconds
_LONGEST_CONNECTION = 10
_OTHER_SCHEMA = re.compile(r"database schema \(found version (\w+)")


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
    return f"{database_uri(repository_root() / path)}{mark}{query}"


def shown_uri(uri: str | None = None) -> str:
    """The store's URI as it may be shown and recorded: without name, password and query."""
    return without_secrets(uri or tracking_uri())


def connect_to_read() -> Any:
    """Like `connect`, but an empty store is not made for somebody who looks for runs.

    Raises:
        TinyLLMError: there is none, and no journal to fill one from; or see `connect`.
    """
    check_address(tracking_uri())
    path = database_path(tracking_uri())
    if path is not None and not path.exists() and not any(journal_folder().glob("*.jsonl")):
        raise TinyLLMError(
            f"There is no store at {path} yet, since no run was recorded here; 'make repro' (or "
            f"'dvc repro') makes the first."
        )
    return connect()


def connect(uri: str | None = None) -> Any:
    """Return an `MlflowClient`; a SQLite store is created first, by one process at a time.

    Nothing else opens a store. One that was moved or copied with its project is corrected.

    Raises:
        TinyLLMError: the address names no store, or the store cannot be opened or made.
    """
    configure_external_loggers()
    for name, value in {**_PATIENCE, **_QUIET}.items():
        os.environ.setdefault(name, value)
    uri = uri or tracking_uri()
    check_address(uri)
    import mlflow

    hide_in_log("mlflow")
    with explained(f"MLflow's store {shown_uri(uri)} cannot be opened"):
        if (path := database_path(uri)) is not None:
            make_ready(path)
            follow(path)
        elif not uri.startswith("http"):
            _knock(uri)
        mlflow.set_tracking_uri(uri)
        try:
            return mlflow.MlflowClient(uri)
        except mlflow.exceptions.MlflowException as error:
            if found := _OTHER_SCHEMA.search(str(error)):
                raise wrong_schema(shown_uri(uri), found[1]) from None
            raise


def _knock(uri: str) -> None:
    """Connect to a database once: MLflow would go on trying for two minutes."""
    import sqlalchemy

    timely = {"connect_timeout": _LONGEST_CONNECTION}
    server = sqlalchemy.make_url(uri).get_backend_name() in ("postgresql", "mysql")
    engine = sqlalchemy.create_engine(uri, connect_args=timely if server else {})
    engine.connect().close()
    engine.dispose()


def experiment_id(client: Any, name: str) -> str:
    """The experiment's id; created or restored if needed, with its files beside a SQLite store."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is not None:
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)
    path = database_path(tracking_uri())
    location = None if path is None else files_of(path).as_uri()
    try:
        return str(client.create_experiment(name, artifact_location=location, tags=KIND))
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
