"""What a commit's outs hold: git has their checksums only, DVC's cache or remote the files."""

from pathlib import Path


def read_out(path: str, commit: str, root: Path | None = None) -> str:
    """The text of an out as a commit's dvc.lock has it; empty where DVC cannot get it.

    Args:
        path: of the file, from the root of the repository.
        commit: whose out it is.
        root: of the repository; the one around the working directory if left out.
    """
    import dvc.api
    from dvc.exceptions import DvcException

    try:
        return str(dvc.api.read(path, repo=None if root is None else str(root), rev=commit))
    except (DvcException, OSError, ValueError):
        return ""
