"""A SQLite store follows its project when that is moved or copied.

MLflow notes absolute places of files. The place of its default experiment tells where the store was
when it was made, so the others that lie there are recognised, and those elsewhere stay.
"""

import contextlib
import sqlite3
from pathlib import Path
from urllib.parse import unquote, urlsplit

_DEFAULT = "SELECT artifact_location FROM experiments WHERE experiment_id = 0"
_FILES, _WORKING = "mlruns", ".tinyllm"
# where MLflow's database names folders of files
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)


def files_of(path: Path) -> Path:
    """The folder for the files of the runs in the SQLite store at `path`."""
    return path.resolve().parent / _FILES


def follow(path: Path) -> None:
    """Correct the places in the store at `path` if it was moved or copied with its files.

    All are changed in one transaction, or none. A store that may only be read stays as it is.

    Raises:
        sqlite3.Error: the file cannot be read as a database.
    """
    new = files_of(path)
    with contextlib.closing(sqlite3.connect(path, timeout=20.0)) as store:
        row = store.execute(_DEFAULT).fetchone()
        old = _home(row[0]) if row else None
        if old is None or old.resolve() == new:
            return
        # of a store alone, without its project, the files are read where they are
        if old.exists() and not new.exists() and not (new.parent / _WORKING).exists():
            return
        with contextlib.suppress(sqlite3.OperationalError), store:
            for table, column in _PLACES:
                for before, after in ((old.as_uri(), new.as_uri()), (str(old), str(new))):
                    store.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608 - ours
                        f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                        (after, len(before) + 1, before, len(before) + 1, f"{before}/"),
                    )


def _home(location: str) -> Path | None:
    """The folder of files, from the place of the default experiment in it; None if elsewhere."""
    parts = urlsplit(location)
    place = Path(unquote(parts.path) if parts.scheme == "file" else location)
    at_home = parts.scheme in ("", "file") and place.is_absolute() and place.parent.name == _FILES
    return place.parent if at_home else None
