"""The TCP connections of a process, and those between that of rank 0 and all others."""

import contextlib
import json
import os
import secrets
import socket
import stat
import time
from collections.abc import Iterator
from typing import Any, Protocol

# seconds to wait for the others, and for one answer
_PATIENCE = 600.0
_ANSWER = 5.0
_KEY = "tinyllm/first"
# addresses and ports of this end and the other one
Ends = tuple[tuple[Any, ...], tuple[Any, ...]]


class Store(Protocol):
    """What torch.distributed's stores offer: values that all processes see."""

    def set(self, key: str, value: str) -> None:
        """Publish a value."""

    def get(self, key: str) -> bytes:
        """Wait for a value."""


def connections_here() -> set[Ends]:
    """The TCP connections of this process."""
    return {ends for ends, _ in _connections()}


def break_connections(broken: set[Ends]) -> None:
    """End connections, so that whoever waits for them fails at once."""
    for ends, connection in _connections():
        if ends in broken:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def accept_all(size: int, address: str, store: Store) -> tuple[dict[socket.socket, str], str]:
    """Accept the other processes, as that of rank 0.

    Args:
        size: the number of processes.
        address: of this machine, as the others reach it.
        store: where they find it.

    Returns:
        The connections, with what to call the processes, and a word that all of them know now.

    Raises:
        OSError: a process did not come in time.
    """
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    token, peers = secrets.token_hex(16), dict[socket.socket, str]()
    end = time.monotonic() + _PATIENCE
    with socket.create_server(("", 0), family=family, backlog=size, dualstack_ipv6=both) as server:
        store.set(_KEY, json.dumps([address, server.getsockname()[1], token]))
        while len(peers) < size - 1:
            server.settimeout(max(1.0, end - time.monotonic()))
            peer, _ = server.accept()
            _send(peer, f"{token} {socket.gethostname()}")
            words = _receive(peer)
            if len(words) == 3 and secrets.compare_digest(words[0], token):
                peers[peer] = _name(words[1], size, words[2])
            else:
                peer.close()
    return peers, token


def connect_to_first(rank: int, size: int, store: Store) -> tuple[dict[socket.socket, str], str]:
    """Connect to the process of rank 0; see `accept_all`.

    The store may still hold the address of an earlier attempt, where nobody answers any more.

    Raises:
        OSError: it did not answer in time.
    """
    end = time.monotonic() + _PATIENCE
    while True:
        address, port, token = json.loads(store.get(_KEY))
        with contextlib.suppress(OSError):
            peer = socket.create_connection((address, port), timeout=_ANSWER)
            # it has accepted this connection, and counts it once it gets an answer
            words = _receive(peer)
            if words[:1] == [token]:
                _send(peer, f"{token} {rank} {socket.gethostname()}")
                return {peer: _name("0", size, words[1])}, token
            peer.close()
        if time.monotonic() > end:
            raise TimeoutError(f"the process of rank 0 did not answer at {address}:{port}")
        time.sleep(0.2)


def _send(peer: socket.socket, line: str) -> None:
    peer.settimeout(_ANSWER)
    with contextlib.suppress(OSError):
        peer.sendall(f"{line}\n".encode())


def _receive(peer: socket.socket) -> list[str]:
    """The words of one line; none if there is no answer."""
    peer.settimeout(_ANSWER)
    with contextlib.suppress(OSError, UnicodeDecodeError), peer.makefile("rb") as lines:
        return lines.readline(1000).decode().split()
    return []


def _name(rank: str, size: int, host: str) -> str:
    return f"Process {rank} of the {size} that train together, on {host},"


def _connections() -> Iterator[tuple[Ends, socket.socket]]:
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - no path is wanted
        with contextlib.suppress(OSError):
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            # another descriptor of the same connection, since its owner keeps the first one
            with socket.socket(fileno=os.dup(int(name))) as connection:
                if connection.family in (socket.AF_INET, socket.AF_INET6):
                    yield (connection.getsockname(), connection.getpeername()), connection
