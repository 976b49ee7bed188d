"""Logging: short on the screen, complete in a rotating file."""

import logging
import logging.handlers
import os
import sys
import warnings
from pathlib import Path

from tinyllm.app.redaction import without_secrets

_ROOT = "tinyllm"
_QUIET_MLFLOW = {
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
_FILE_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def get_logger(name: str) -> logging.Logger:
    """Return the logger of a module, a child of the one that `setup_logger` sets up."""
    own = name == _ROOT or name.startswith(f"{_ROOT}.")
    return logging.getLogger(name if own else f"{_ROOT}.{name}")


def setup_logger(log_file: Path | None = None, level: int = logging.INFO) -> logging.Logger:
    """Send messages to the screen and, optionally, to a rotating file (five times 1 MB).

    Another call replaces the earlier setup. A log file that cannot be opened causes only a warning.
    """
    root = logging.getLogger(_ROOT)
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    root.setLevel(logging.DEBUG)
    root.propagate = False
    screen = logging.StreamHandler(sys.stderr)
    screen.setLevel(level)
    screen.setFormatter(_ScreenFormatter())
    root.addHandler(screen)
    if log_file is not None:
        try:
            root.addHandler(_rotating_file(log_file))
        except OSError as error:
            root.warning("No log file: cannot write %s (%s).", log_file, error.strerror)
    configure_external_loggers()
    return root


def configure_external_loggers(level: int = logging.WARNING) -> None:
    """Silence the libraries that report each of their steps at INFO.

    MLflow sets up its own logging on import, so it is configured through the environment.
    """
    for name, value in _QUIET_MLFLOW.items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore", module=r"mlflow\..*")
    for name in ("mlflow", "alembic", "matplotlib", "PIL", "torch", "urllib3", "dvc", "git"):
        logging.getLogger(name).setLevel(level)
    for name in ("mlflow.utils.environment", "mlflow.store.model_registry", "torch.onnx"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _rotating_file(path: Path) -> logging.Handler:
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.handlers.RotatingFileHandler(
        path, maxBytes=1_000_000, backupCount=4, encoding="utf-8"
    )
    handler.setFormatter(_FileFormatter(_FILE_FORMAT))
    return handler


class _FileFormatter(logging.Formatter):
    """The complete message without passwords."""

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))


class _ScreenFormatter(logging.Formatter):
    """The message alone, with its level if it is a warning or worse."""

    def format(self, record: logging.LogRecord) -> str:
        message = without_secrets(super().format(record))
        return message if record.levelno < logging.WARNING else f"{record.levelname}: {message}"
