"""The servers of docs/serving.md, started as the page says."""

import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.clients.installing import SETTINGS
from tests.conftest import ROOT
from tests.documents import read_blocks

BLOCKS = {block.name: block.text for block in read_blocks(ROOT / "docs/serving.md") if block.name}


def packages(name: str) -> list[str]:
    """What a block installs, of exact versions."""
    return re.findall(r"[\w-]+(?:\[\w+\])?==[\w.]+", BLOCKS[name])


@contextmanager
def serving(name: str, python: str, folder: Path) -> Iterator[str]:
    """Run a block's server in a folder that holds `models/export`; yield the address of its API."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    path = f"{Path(python).parent}{os.pathsep}{kept['PATH']}"
    # of vLLM: a small cache, and nothing sent to anybody
    small = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    environment = kept | SETTINGS | small | {"PATH": path, "PORT": str(port)}
    address, log = f"http://127.0.0.1:{port}/v1", folder / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", BLOCKS[name]],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _wait_for(server, address, log)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(30)
        finally:
            # what it started itself, and whatever did not listen
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)


def _wait_for(server: "subprocess.Popen[bytes]", address: str, log: Path) -> None:
    for _ in range(600):
        assert server.poll() is None, log.read_text(encoding="utf-8")[-4000:]
        try:
            with urllib.request.urlopen(f"{address}/models", timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(log.read_text(encoding="utf-8")[-4000:])
