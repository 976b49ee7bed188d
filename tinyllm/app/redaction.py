"""Keeps passwords out of what is shown, logged and recorded."""

import functools
import logging
import os
import re
import sys
import traceback
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

_HIDDEN = "***"
# user name and password in a URL, also in one that became a path, with a single slash; not the name
# of a registered model
_USER_INFO = re.compile(r"(?<!\bmodels)(:/{1,2})[^\s/?#'\"<>]*@")
# `?password=...` in database URLs, and the like
_QUERY = re.compile(
    r"([?&][^=&\s]*(?:pass|pwd|token|secret|key|auth|sig|cred)[^=&\s]*=)[^&\s'\"<>]+", re.IGNORECASE
)
_STORE = "MLFLOW_TRACKING_URI"
# of variables that hold secrets, such as MLFLOW_TRACKING_PASSWORD and AWS_SECRET_ACCESS_KEY
_SECRET_NAME = re.compile(
    r"(?:PASSWORD|PASSWD|PASSPHRASE|TOKEN|SECRET|CREDENTIALS?|(?:API|ACCESS|PRIVATE|SECRET)_?KEY)"
    r"(?:_ID)?$",
    re.IGNORECASE,
)
# shorter ones may occur anywhere by chance
_SHORTEST = 6


def without_secrets(text: str) -> str:
    """The text without user names and passwords in URLs, and with `***` for other secrets."""
    before = _before_host()
    if ":" in before:
        scheme, colon, _ = before.partition("://")
        text = text.replace(f"{before}@", f"{scheme}://" if colon else "")
    for secret in _known_secrets(tuple(os.environ.items())):
        text = text.replace(secret, _HIDDEN)
    return _QUERY.sub(rf"\1{_HIDDEN}", _USER_INFO.sub(r"\1", text))


def without_secrets_in(value: Any) -> Any:
    """Plain values without secrets in their strings."""
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, dict):
        return {key: without_secrets_in(each) for key, each in value.items()}
    return value


def take_password_from_url(environment: MutableMapping[str, str] = os.environ) -> None:
    """Move user name and password from a server's URL to MLflow's variables for them.

    `http://<name>:<password>@host` in `MLFLOW_TRACKING_URI` becomes `http://host`, so that no
    library's error shows the password. Variables that are already set stay. A database's URL keeps
    its password, without which it cannot be opened.
    """
    url = environment.get(_STORE, "")
    if not url.startswith(("http://", "https://")) or "@" not in url:
        return
    user_info, at, _ = urlsplit(url).netloc.rpartition("@")
    if not at:
        return
    name, _, password = user_info.partition(":")
    environment[_STORE] = url.replace(f"{user_info}@", "", 1)
    if name:
        environment.setdefault("MLFLOW_TRACKING_USERNAME", unquote(name))
    if password:
        environment.setdefault("MLFLOW_TRACKING_PASSWORD", unquote(password))


def hide_in_log(name: str) -> None:
    """Remove secrets from a library's log."""
    for handler in logging.getLogger(name).handlers:
        if not any(isinstance(one, _Hidden) for one in handler.filters):
            handler.addFilter(_Hidden())


class _Hidden(logging.Filter):
    """Removes secrets from a message and its traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = without_secrets(record.getMessage()), ()
        if record.exc_info:
            text = "".join(traceback.format_exception(*record.exc_info))
            record.exc_text, record.exc_info = without_secrets(text), None
        return True


def hide_in_tracebacks() -> None:
    """Remove secrets from the tracebacks that Python prints."""
    sys.excepthook = _print_traceback


def _print_traceback(
    kind: type[BaseException], error: BaseException, place: TracebackType | None
) -> None:
    text = "".join(traceback.format_exception(kind, error, place))
    print(without_secrets(text), end="", file=sys.stderr)


def _before_host() -> str:
    """The store's URL up to its last `@`, since a password may not be properly quoted."""
    url = os.environ.get(_STORE, "")
    # the name of a folder may contain an `@`, too
    return "" if url.startswith("sqlite:") else url.rpartition("@")[0]


@functools.lru_cache(maxsize=1)
def _known_secrets(environment: tuple[tuple[str, str], ...]) -> list[str]:
    """Secrets of this process's environment, plain and URL-encoded, the longest first."""
    found = {value for name, value in environment if _SECRET_NAME.search(name)}
    password = _before_host().partition("://")[2].partition(":")[2]
    # a driver that ends the password at its first `@` shows the rest as the host
    found |= {password, unquote(password), *password.split("@")}
    return sorted((one for one in found if len(one) >= _SHORTEST), key=len, reverse=True)
