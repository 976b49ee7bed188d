"""A SQLite store for MLflow, created under another name and renamed when it is complete.

MLflow creates its tables in many transactions. Killed in between, it leaves a file that it rejects
forever ("table ... already exists"), so the file is examined before MLflow opens it.
"""

import contextlib
import importlib
import os
import sqlite3
import time
from enum import Enum
from pathlib import Path
from urllib.parse import quote

from filelock import FileLock, Timeout

from tinyllm.app.tracking.address import database_uri
from tinyllm.app.tracking.reasons import reason
from tinyllm.app.tracking.relocation import files_of
from tinyllm.base.errors import TinyLLMError

# tables of every complete store
_CORE = {"alembic_version", "experiments", "metrics", "params", "runs", "tags"}
# tables that MLflow fills while it creates tables; its default experiment comes last
_ENTERED_BY_MIGRATIONS = {"alembic_version", "workspaces"}
# a column by which the table `experiments` is MLflow's
_COLUMN = "artifact_location"
_SIDE_FILES = ("", "-journal", "-wal", "-shm")
_BUSY = 20.0
# seconds that another program may take to create a store
_PATIENCE = 120.0


class Condition(Enum):
    """What is at the path of a store."""

    ABSENT = "nothing"
    WHOLE = "a store that MLflow has finished"
    HALF_MADE = "tables of a store, and no data"
    FOREIGN = "something else"


def make_ready(path: Path) -> None:
    """Ensure that there is a complete store at `path`.

    A kill at any moment leaves either no store or a complete one. An incomplete one is renamed to
    `NAME.half-made` and recreated. Several processes may call this at once.

    Args:
        path: the SQLite file.

    Raises:
        TinyLLMError: the file is something else, from another MLflow, or cannot be written.
    """
    try:
        path = path.resolve()
        if examine(path) is not Condition.WHOLE:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(_lock(path)):
                _make_alone(path)
        _refuse_incomplete(path)
    except (OSError, sqlite3.Error) as error:
        why = getattr(error, "strerror", None) or reason(error)
        raise TinyLLMError(f"MLflow's store {path} cannot be opened: {why}.") from None


def examine(path: Path) -> Condition:
    """Find out what is at the path of a store.

    Raises:
        sqlite3.Error: another program has locked the file.
    """
    if not path.exists():
        return Condition.ABSENT
    if not path.is_file():
        return Condition.FOREIGN
    if path.stat().st_size == 0:
        return Condition.HALF_MADE
    try:
        return _examine_database(path)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:
        return Condition.FOREIGN


def _examine_database(path: Path) -> Condition:
    with contextlib.closing(_open(path)) as connection:
        tables = _tables(connection)
        filled = any(_has_rows(connection, name) for name in tables - _ENTERED_BY_MIGRATIONS)
        of_mlflow = "alembic_version" in tables or _has_column(connection, "experiments")
        blank = _is_blank(connection)
    if filled:
        return Condition.WHOLE if of_mlflow and tables >= _CORE else Condition.FOREIGN
    if blank or (of_mlflow and tables <= _tables_of_mlflow()):
        return Condition.HALF_MADE
    return Condition.FOREIGN


def is_being_made(path: Path) -> bool:
    """Whether a process, maybe this one, is creating a store at `path`."""
    if not _lock(path).exists():
        return False
    try:
        with FileLock(_lock(path), timeout=0):
            return False
    except Timeout:
        return True


def _make_alone(path: Path) -> None:
    """Create a store; the caller holds the lock."""
    deadline = time.monotonic() + _PATIENCE
    while (found := examine(path)) is Condition.HALF_MADE and _is_open_elsewhere(path):
        # `mlflow server` and the like create theirs in place
        if time.monotonic() > deadline:
            raise TinyLLMError(
                f"Another program has held MLflow's unfinished store {path} open for "
                f"{_PATIENCE:g} seconds; stop it and try again."
            )
        time.sleep(0.2)
    if found is Condition.FOREIGN:
        raise TinyLLMError(
            f"{path} is not a store of MLflow; move it away, or name another place in "
            f"MLFLOW_TRACKING_URI."
        )
    if found is Condition.HALF_MADE:
        _set_aside(path)
    if found is not Condition.WHOLE:
        unfinished = path.with_name(f"{path.name}.unfinished")
        for suffix in _SIDE_FILES:
            Path(f"{unfinished}{suffix}").unlink(missing_ok=True)
        _make(unfinished, files_of(path))
        _publish(unfinished, path)


def _make(path: Path, artifacts: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore(database_uri(path), artifacts.as_uri())
    store.engine.dispose()
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _publish(unfinished: Path, path: Path) -> None:
    """Rename a complete store, unless another program has created one in the meantime."""
    try:
        # unlike a rename, a link never replaces a file
        path.hardlink_to(unfinished)
    except FileExistsError:
        unfinished.unlink()
    except OSError:
        # a file system without hard links
        unfinished.rename(path)
    else:
        unfinished.unlink()


def _set_aside(path: Path) -> None:
    """Rename an incomplete store, and SQLite's files beside it, to a free name."""
    names = [f"{path.name}.half-made", *(f"{path.name}.half-made-{i}" for i in range(2, 1000))]
    target = next(path.with_name(name) for name in names if not path.with_name(name).exists())
    for suffix in reversed(_SIDE_FILES):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{target}{suffix}")


def _refuse_incomplete(path: Path) -> None:
    """Reject a store that lacks tables: MLflow would upgrade it in place, and may be killed."""
    with contextlib.closing(_open(path)) as connection:
        if _tables_of_mlflow() <= _tables(connection):
            return
        (version,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    raise wrong_schema(database_uri(path), version)


def wrong_schema(uri: str, version: str) -> TinyLLMError:
    """The error for a store whose tables, of a version of Alembic's, are of another MLflow."""
    import mlflow.store

    migrations = Path(mlflow.store.__file__).parent / "db_migrations" / "versions"
    known = any(version in file.read_text("utf-8") for file in migrations.glob("*.py"))
    if known:
        return TinyLLMError(
            f"MLflow's store {uri} is from an older version of MLflow; copy it, then run "
            f"'mlflow db upgrade {uri}'."
        )
    return TinyLLMError(
        f"MLflow's store {uri} is from a newer version of MLflow than {mlflow.__version__}; "
        f"upgrade this one (pip install --upgrade mlflow), or name another store in "
        f"MLFLOW_TRACKING_URI."
    )


def _tables_of_mlflow() -> set[str]:
    # registers all tables
    importlib.import_module("mlflow.store.tracking.sqlalchemy_store")
    from mlflow.store.db.base_sql_model import Base

    return {*Base.metadata.tables, "alembic_version"}


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, timeout=_BUSY)


def _tables(connection: sqlite3.Connection) -> set[str]:
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    # migrations copy tables through temporary ones
    return {name for (name,) in rows if not name.startswith(("sqlite_", "_alembic_tmp_"))}


def _has_rows(connection: sqlite3.Connection, table: str) -> bool:
    name = table.replace('"', '""')
    found = connection.execute(f'SELECT 1 FROM "{name}" LIMIT 1').fetchone()  # noqa: S608 - quoted
    return found is not None


def _has_column(connection: sqlite3.Connection, table: str) -> bool:
    rows = connection.execute("SELECT name FROM pragma_table_info(?)", (table,)).fetchall()
    return (_COLUMN,) in rows


def _is_blank(connection: sqlite3.Connection) -> bool:
    """Whether a database holds nothing at all, not even an application id."""
    marks = [
        connection.execute(f"PRAGMA {of}").fetchone() for of in ("user_version", "application_id")
    ]
    found = connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    return found is None and marks == [(0,), (0,)]


def _is_open_elsewhere(path: Path) -> bool:
    import psutil

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            files = process.open_files() if process.pid != os.getpid() else ()
            if any(Path(file.path) == path.resolve() for file in files):
                return True
    return False


def _lock(path: Path) -> Path:
    place = path.resolve()
    return place.with_name(f"{place.name}.lock")
