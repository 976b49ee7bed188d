"""Addresses of stores: what is wrong with one is said before MLflow sees it."""

import importlib.metadata
import re
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from tinyllm.app.redaction import without_secrets
from tinyllm.base.errors import TinyLLMError

_SERVERS = ("http", "https")
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
# everything printable but '%' and '?'
_SAFE = "".join(chr(code) for code in range(32, 127) if chr(code) not in "%?")
_HOST_AND_PORT = re.compile(r"(?:[^@/\s]*@)?[\w.-]+:\d+(?:/\S*)?")
# what to install for a driver whose package has another name
_PACKAGES = {
    "MySQLdb": "mysqlclient",
    "psycopg": "psycopg[binary]",
    "psycopg2": "psycopg2-binary",
}


def database_path(uri: str) -> Path | None:
    """The file of a `sqlite:///` URI; None for other stores."""
    if not uri.startswith("sqlite:///"):
        return None
    name = unquote(uri.removeprefix("sqlite:///").partition("?")[0])
    return Path(name) if name and name != ":memory:" else None


def database_uri(path: Path) -> str:
    """The `sqlite:///` URI of a file, in whose path '%' and '?' would mean something."""
    return f"sqlite:///{quote(str(path), safe=_SAFE)}"


def check_address(uri: str) -> None:
    """Refuse an address that names no store; asks no server.

    Raises:
        TinyLLMError: the address is refused; the message says what to write or to install.
    """
    if problem := _problem(uri):
        text = f"MLFLOW_TRACKING_URI is {uri!r}, {problem}."
        raise TinyLLMError(without_secrets(text))


def _problem(uri: str) -> str:
    scheme, colon, rest = uri.partition(":")
    if uri != uri.strip() or not uri.isprintable():
        return "with spaces or line breaks at its ends; write it without them, or unset it"
    if _HOST_AND_PORT.fullmatch(uri) and not scheme.startswith("databricks"):
        return f"but the address of a server begins with http:// or https://: 'http://{uri}'"
    if scheme in _SERVERS:
        return _server_problem(uri)
    if scheme.partition("+")[0] in _DATABASES and colon:
        return _database_problem(uri, rest)
    return _other_problem(uri, scheme, rest)


def _other_problem(uri: str, scheme: str, rest: str) -> str:
    """What is wrong with an address that is neither a server's nor a database's."""
    if scheme.startswith("databricks"):
        return (
            "but the project does not keep its runs at Databricks; name a server of MLflow "
            "(http://...) or a file (sqlite:///mlflow.db)"
        )
    if scheme in ("file", uri) or "/" in scheme:
        return _folder_problem(rest if scheme == "file" else uri)
    plugins = importlib.metadata.entry_points(group="mlflow.tracking_store")
    return "" if scheme in plugins.names else _scheme_problem(scheme, rest)


def _folder_problem(place: str) -> str:
    folder = re.sub("^//(?=/)", "", place) or "mlruns"
    text = (
        "but runs are kept in a database, such as sqlite:///mlflow.db, or on a server (http://...)"
    )
    if not Path(folder).is_dir():
        return text
    command = f"mlflow migrate-filestore --source {folder} --target sqlite:///mlflow.db"
    return f"{text}; '{command}' takes over those of a folder"


def _server_problem(uri: str) -> str:
    try:
        parts = urlsplit(uri)
        named = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        named = False
    return "" if named else "which names no host and port; write it like http://localhost:5000"


def _database_problem(uri: str, rest: str) -> str:
    if uri.startswith("sqlite"):
        path = database_path(uri)
        if path is not None and "~" not in path.parts:
            return ""
        name = rest.strip("/") if path is None and ":memory:" not in rest else ""
        return f"but a file is named like sqlite:///{name or 'mlflow.db'}, or with its whole path"
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        make_url(uri).get_dialect().import_dbapi()
    except ModuleNotFoundError as error:
        driver = str(error.name)
        package = _PACKAGES.get(driver, driver)
        return f"which needs a driver: pip install '{package}'"
    except (ArgumentError, NoSuchModuleError, ValueError):
        return "which is not written like postgresql://<user>:<password>@<host>/<database>"
    return ""


def _scheme_problem(scheme: str, rest: str) -> str:
    close = get_close_matches(scheme.lower(), (*_SERVERS, *_DATABASES), 1, 0.6)
    hint = f"; this may be '{close[0]}:{rest}'" if close else ""
    return (
        "but the address of a store begins with http://, https://, sqlite:///, postgresql:// or "
        f"mysql://{hint}"
    )
