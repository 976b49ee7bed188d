"""Reads outs of a commit: git has only their checksums, DVC's cache or remote the files."""

from pathlib import Path


def read_out(path: str, commit: str, root: Path | None = None) -> str:
    """The text of an out in a commit; empty if DVC cannot get it.

    Args:
        path: of the file, from the root of the repository.
        commit: whose dvc.lock counts.
        root: of the repository; defaults to that of the working directory.
    """
    import dvc.api
    from dvc.exceptions import DvcException

    try:
        return str(dvc.api.read(path, repo=None if root is None else str(root), rev=commit))
    except (DvcException, OSError, ValueError):
        return ""
