"""A Ray cluster of two nodes on this machine, each with one core."""

import contextlib
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

WAY = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus", "1"]

# nobody else's programs; the same for all clusters, since Ray reads it once, when it is imported
TOKEN = secrets.token_hex(32)


class Node:
    """A node, which ends with all of its processes."""

    def __init__(self, log: Path, *options: str) -> None:
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [*WAY, "--disable-usage-stats", *options],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        deadline = time.monotonic() + 120
        while b"Ray runtime started" not in log.read_bytes():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                pytest.fail(log.read_text())
            time.sleep(0.2)

    def kill(self) -> None:
        """End it as a power cut does: kill -9 of every process of its session."""
        for _ in range(3):
            for process in psutil.process_iter():
                with contextlib.suppress(psutil.Error, ProcessLookupError):
                    if os.getsid(process.pid) == self.process.pid:
                        os.kill(process.pid, signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def two_nodes(folder: Path) -> Iterator[list[Node]]:
    """Start the cluster and let `ray.init` find it; the first node is the head.

    Args:
        folder: for logs.
    """
    before = dict(os.environ)
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    pytest.importorskip("ray", reason="Ray is an extra of its own: pip install 'tinyllm[cluster]'")
    port = _free_port()
    nodes: list[Node] = []
    address = f"127.0.0.1:{port}"
    # sockets need a short path
    own = tempfile.mkdtemp(prefix="ray-")
    # some ports of a head are the same on every machine
    alone = FileLock(Path(tempfile.gettempdir()) / f"tinyllm-ray-{os.getuid()}.lock")
    alone.acquire()
    try:
        head = ("--head", "--port", str(port), "--include-dashboard", "false", "--temp-dir", own)
        nodes.append(Node(folder / "head.log", *head, "--node-name", "first"))
        nodes.append(Node(folder / "other.log", "--address", address, "--node-name", "second"))
        os.environ["RAY_ADDRESS"] = address
        yield nodes
    finally:
        for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_ADDRESS"):
            os.environ.pop(name, None)
        os.environ |= before
        for node in reversed(nodes):
            node.kill()
        shutil.rmtree(own, ignore_errors=True)
        alone.release()


def _free_port() -> int:
    """A port between those of Ray's workers and those that the system hands out."""
    while True:
        port = random.randrange(20_000, 30_000)
        with contextlib.suppress(OSError), socket.socket() as free:
            free.bind(("", port))
            return port
