"""Which MLflow store is used, and opening it."""

import os
from pathlib import Path
from typing import Any

from filelock import FileLock

from tinyllm.logger import configure_external_loggers

# MLflow's own defaults wait four minutes for a server that is not there
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
# a server's address is known to who set it, and needs no line for each run that ends
_QUIET = {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}


def repository_root() -> Path:
    """The main repository: DVC names it even inside the copies that experiments run in."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve()


def working_folder() -> Path:
    """Where working state is kept that is neither a dependency nor an out."""
    return repository_root() / ".tinyllm"


def journal_folder() -> Path:
    """Where the journals of all runs are kept."""
    return working_folder() / "journal"


def tracking_uri() -> str:
    """`MLFLOW_TRACKING_URI`, or the SQLite file at the root of the main repository."""
    default = f"sqlite:///{repository_root() / 'mlflow.db'}"
    return os.environ.get("MLFLOW_TRACKING_URI") or default


def connect(uri: str | None = None) -> Any:
    """Return an `MlflowClient`; a SQLite store is created first, by one process at a time.

    Raises:
        mlflow.exceptions.MlflowException: the store cannot be opened.
    """
    configure_external_loggers()
    for name, value in {**_PATIENCE, **_QUIET}.items():
        os.environ.setdefault(name, value)
    import mlflow  # noqa: PLC0415 - two seconds that only those who track shall pay

    uri = uri or tracking_uri()
    mlflow.set_tracking_uri(uri)
    if not uri.startswith("sqlite:"):
        return mlflow.MlflowClient(uri)
    working_folder().mkdir(parents=True, exist_ok=True)
    # two processes that create a database at once would crash one of them
    with FileLock(working_folder() / "mlflow-create.lock"):
        client = mlflow.MlflowClient(uri)
        client.search_experiments(max_results=1)
    return client


def experiment_id(client: Any, name: str) -> str:
    """The experiment's id; it is created if need be, its artifacts beside a SQLite store."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - see connect

    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    local = tracking_uri().startswith("sqlite:")
    location = (repository_root() / "mlruns").as_uri() if local else None
    try:
        return str(client.create_experiment(name, artifact_location=location))
    except MlflowException:
        # another process was quicker
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return str(found.experiment_id)
