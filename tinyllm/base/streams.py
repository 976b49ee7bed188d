"""Standard streams that break no command: closed, full, or in a narrow encoding."""

import contextlib
import io
import os
import sys
from typing import Any


class _Forgiving(io.FileIO):
    """A file that takes whatever it cannot write, as if it had written it."""

    def write(self, data: Any) -> int:
        """Write, or do nothing."""
        try:
            return super().write(data) or 0
        except OSError:
            return len(memoryview(data).cast("B"))


def settle_streams() -> None:
    """Make standard streams safe to use; called before a process does anything else.

    A closed one is opened on the null device, since the next file would take its number. Characters
    that the encoding of a stream lacks are shown as escapes, and messages to a standard error that
    is gone are dropped.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # what is written to a closed standard output fails, as it would have
            os.open(os.devnull, os.O_RDONLY)
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - for good
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - for good
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.stderr = _forgiving(sys.stderr, 2)


def forgive_output() -> None:
    """Drop output that cannot be written: for commands whose results are files or records."""
    sys.stdout = _forgiving(sys.stdout, 1)


def drop_output() -> None:
    """Write what standard output still holds, or let go of it if that cannot be written."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        # or Python would try again when it ends, and change the exit code
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)


def _forgiving(stream: Any, number: int) -> Any:
    # a test's or a notebook's stream is none of the system's
    if stream is not None and not _is_number(stream, number):
        return stream
    with contextlib.suppress(OSError, ValueError):
        if stream is not None:
            stream.flush()
    raw = _Forgiving(number, "w", closefd=False)
    encoding = getattr(stream, "encoding", None) or "utf-8"
    buffer = io.BufferedWriter(raw)
    return io.TextIOWrapper(
        buffer, encoding, errors="backslashreplace", line_buffering=raw.isatty() or number == 2
    )


def _is_number(stream: Any, number: int) -> bool:
    try:
        return bool(stream.fileno() == number)
    except (OSError, ValueError, AttributeError):
        return False
