"""An HTTP proxy before a real server, that can be told to misbehave while it runs.

`mode` may change at any time: `pass`, `slow` (three seconds for each call), `error` (answers 500),
`reset` (drops the connection at once) or `deaf` (the server does the work, the answer is dropped).
"""

import http.client
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar, Literal, Self

Mode = Literal["pass", "slow", "error", "reset", "deaf"]
LATENCY = 3.0
_OWN_HEADERS = {"connection", "transfer-encoding", "keep-alive", "date", "server"}


def free_port() -> int:
    """A port of this machine that nobody listens to."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Proxy:
    """Listens while it is entered; `start` and `stop` may be called as often as liked."""

    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        self.mode: Mode = "pass"
        self.calls = 0
        self._target_port = target_port
        self._server: ThreadingHTTPServer | None = None

    @property
    def uri(self) -> str:
        """What clients connect to."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen, at the same port each time."""
        handler = type("Handler", (_Handler,), {"proxy": self, "target": self._target_port})
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Stop listening: connections are refused."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Handler(BaseHTTPRequestHandler):
    """Passes one call on, or does not."""

    proxy: ClassVar[Proxy]
    target: ClassVar[int]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing."""

    def _pass_on(self) -> None:
        self.proxy.calls += 1
        mode = self.proxy.mode
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if mode == "slow":
            time.sleep(LATENCY)
        if mode == "reset":
            self._drop()
            return
        if mode == "error":
            self._answer(500, [], b'{"error_code": "INTERNAL_ERROR", "message": "no"}')
            return
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.target, timeout=120)
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
        except (OSError, http.client.HTTPException):
            self._drop()
            return
        if mode == "deaf":
            self._drop()
            return
        headers = [(k, v) for k, v in answer.getheaders() if k.lower() not in _OWN_HEADERS]
        self._answer(answer.status, headers, content)

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        try:
            self.send_response(status)
            for key, value in headers:
                if key.lower() != "content-length":
                    self.send_header(key, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except OSError:
            # the client has gone
            self.close_connection = True

    def _drop(self) -> None:
        """End the connection by a reset, as a server that died does."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()
        self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on  # noqa: N815 - the base's names
