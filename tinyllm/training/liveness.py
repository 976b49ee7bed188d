"""Notices that another process has ended, or cannot be reached any more.

When a process ends, the system closes its connections. When a machine or its network fails, nothing
arrives at all, and gloo would wait for its timeout, which must be longer than any validation or
checkpoint. So each process keeps a connection to the one of rank 0 on which nothing is sent, and
the kernels at both ends probe it: they answer while a process computes, writes or is stopped, and
give a silent machine up after `SILENCE` seconds. The loss of one process ends all.
"""

import contextlib
import select
import socket
import threading
from collections.abc import Callable

_IDLE, _INTERVAL, _PROBES = 5, 3, 4
SILENCE = _IDLE + _INTERVAL * _PROBES
_PROBING = {"TCP_KEEPIDLE": _IDLE, "TCP_KEEPINTVL": _INTERVAL, "TCP_KEEPCNT": _PROBES}
_BYE = b"bye\n"
_LOST = b"lost "


class Liveness:
    """Watches the connections of a process to others: rank 0 has all, the others have that one.

    Args:
        peers: a connection to each process, with what to call it.
    """

    def __init__(self, peers: dict[socket.socket, str]) -> None:
        self._peers = dict(peers)
        self._lost = ""
        self._known = threading.Event()
        self._reaction: Callable[[], None] = lambda: None
        self._leaving = False
        for peer in peers:
            peer.settimeout(None)
            _probe(peer)
        self._thread = threading.Thread(target=self._watch, name="liveness", daemon=True)
        self._thread.start()

    def on_loss(self, reaction: Callable[[], None]) -> None:
        """Have a function called, in another thread, when a process is lost."""
        self._reaction = reaction
        if self._known.is_set():
            reaction()

    def check(self) -> None:
        """Raise `RuntimeError` if a process is lost."""
        if self._lost:
            raise RuntimeError(self._lost)

    def loss(self, patience: float) -> str:
        """Which process was lost and how; waits for that, and returns nothing if none was."""
        self._known.wait(patience)
        return self._lost

    def leave(self, *, orderly: bool) -> None:
        """Close the connections; unless it is orderly, the others end too."""
        self._leaving = True
        for peer in list(self._peers):
            with contextlib.suppress(OSError):
                if orderly:
                    peer.sendall(_BYE)
                peer.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for peer in self._peers:
            peer.close()

    def _watch(self) -> None:
        poll, watched = select.poll(), {peer.fileno(): peer for peer in self._peers}
        for number in watched:
            poll.register(number, select.POLLIN)
        while watched and not self._lost:
            for number, _ in poll.poll():
                poll.unregister(number)
                self._end_of(watched.pop(number))

    def _end_of(self, peer: socket.socket) -> None:
        """Read what a process sends at its end: a farewell, news of a loss, or nothing."""
        fate = "has ended"
        try:
            message = peer.recv(1000)
        except OSError:
            message, fate = b"", "cannot be reached any more"
        if not self._leaving and message != _BYE:
            told = message.startswith(_LOST)
            self._lose(message[len(_LOST) :].decode() if told else f"{self._peers[peer]} {fate}")

    def _lose(self, loss: str) -> None:
        if self._lost:
            return
        self._lost = loss
        for peer in self._peers:
            with contextlib.suppress(OSError):
                peer.sendall(_LOST + loss.encode())
        self._known.set()
        self._reaction()


def _probe(connection: socket.socket) -> None:
    """Have the kernel end a connection whose other end does not answer."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _PROBING.items():
        # not every system has all of them
        if (option := getattr(socket, name, None)) is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
