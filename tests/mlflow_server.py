"""A real MLflow server on SQLite that can be killed, locked, filled up, and come back."""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.project import clean_environment
from tests.proxy import free_port

_LONGEST_START = 120.0


class MLflowServer:
    """Started by `start`, which waits until it answers; its data lie in `folder`."""

    def __init__(self, folder: Path, empty_store: Path) -> None:
        """Prepare a server.

        Args:
            folder: its database and artifacts.
            empty_store: a fresh database to begin with.
        """
        self.folder, self.port = folder, free_port()
        self.database = folder / "server.db"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(empty_store, self.database)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, *, wait: bool = True) -> None:
        """Start it with one worker: it stands for a machine of its own, so it is small."""
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
        command += ["--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{self.database}"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        environment = {**clean_environment(), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        environment["MLFLOW_DISABLE_TELEMETRY"] = "true"
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder.parent,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if wait:
            self.wait()

    def wait(self) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + _LONGEST_START
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.uri}/health"):
                return
            time.sleep(0.1)
        raise TimeoutError(f"no answer from MLflow at {self.uri}")

    def kill(self) -> None:
        """kill -9, its workers too."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the database as a hanging backup would."""
        with contextlib.closing(sqlite3.connect(self.database, timeout=60)) as connection:
            connection.isolation_level = None
            connection.execute("BEGIN EXCLUSIVE")
            try:
                yield
            finally:
                connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """Leave no byte free on its disk, which should be a small one."""
        filler = self.folder / "filler"
        try:
            with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while file.write(b"\0" * 4096):
                    pass
            yield
        finally:
            filler.unlink()


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int = 16) -> Iterator[Path]:
    """Mount a disk of its own in memory; needs root.

    Raises:
        PermissionError: the system does not permit it.
    """
    folder.mkdir(parents=True)
    options = f"size={megabytes}m"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise PermissionError(f"cannot mount a small disk ({error})") from None
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
