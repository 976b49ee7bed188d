"""A Ray cluster of two nodes on this machine, each with one core."""

import contextlib
import os
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

WAY = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus", "1"]


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
    pytest.importorskip("ray", reason="Ray is an extra of its own: pip install 'tinyllm[cluster]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nodes: list[Node] = []
    address = f"127.0.0.1:{port}"
    before = os.environ.get("RAY_ADDRESS")
    # sockets need a short path
    own = tempfile.mkdtemp(prefix="ray-")
    try:
        head = ("--head", "--port", str(port), "--include-dashboard", "false", "--temp-dir", own)
        nodes.append(Node(folder / "head.log", *head, "--node-name", "first"))
        nodes.append(Node(folder / "other.log", "--address", address, "--node-name", "second"))
        os.environ["RAY_ADDRESS"] = address
        yield nodes
    finally:
        os.environ.pop("RAY_ADDRESS", None)
        if before is not None:
            os.environ["RAY_ADDRESS"] = before
        for node in reversed(nodes):
            node.kill()
        shutil.rmtree(own, ignore_errors=True)
