"""MLflow's scoring server behind a guard, as an ASGI application for uvicorn.

`tinyllm serve` runs it as a file, and it imports nothing of this project: a model brings its own
version of `tinyllm` with it, which must be the one that is imported.
"""

import asyncio
import contextlib
import json
import os
import threading
import warnings
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

MODEL, LIMITS = "TINYLLM_SERVED_MODEL", "TINYLLM_SERVED_LIMITS"
# JSON may write a character as two escapes of six bytes, and names some parameters
_BYTES_OF_A_CHARACTER, _BYTES_BESIDE = 12, 100_000
# seconds
_PATIENCE_FOR_A_BODY = 60
_REFUSED, _FAILED, _TOO_SLOW, _TOO_LARGE = 400, 500, 408, 413

# the served model looks for it by name, and stops working for a client that has left
client_left: ContextVar[threading.Event] = ContextVar("client_left")


class Guard:
    """Bounds what is read of a request, notices when its client leaves, and words the errors.

    The application runs a request in a thread, which nothing can end from outside; so the thread is
    told by an event that nobody waits any more.
    """

    def __init__(self, application: Application, most_bytes: int) -> None:
        """Guard an application against bodies of more than `most_bytes`."""
        self._application = application
        self._most_bytes = most_bytes

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one connection's request, see https://asgi.readthedocs.io."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        try:
            body = await asyncio.wait_for(self._read(receive), _PATIENCE_FOR_A_BODY)
        except TimeoutError:
            await _answer(send, _TOO_SLOW, "The request did not arrive within a minute.")
            return
        if body is None:
            text = f"The request has more than {self._most_bytes:,} bytes; send fewer characters."
            await _answer(send, _TOO_LARGE, text)
            return
        await self._pass_on(scope, body, receive, send)

    async def _read(self, receive: Receive) -> bytes | None:
        """The body, or None if it is too large, once all of it came: who sends does not listen."""
        parts, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            part = message.get("body", b"")
            size += len(part)
            if size <= self._most_bytes:
                parts.append(part)
            more = message.get("more_body", False)
        return b"".join(parts) if size <= self._most_bytes else None

    async def _pass_on(self, scope: Message, body: bytes, receive: Receive, send: Send) -> None:
        left, gone = threading.Event(), asyncio.Event()
        client_left.set(left)
        given = False

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            left.set()
            gone.set()

        async def read_again() -> Message:
            nonlocal given
            if given:
                await gone.wait()
                return {"type": "http.disconnect"}
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        watcher = asyncio.create_task(watch())
        try:
            await self._application(scope, read_again, _worded(send))
        finally:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher


def _worded(send: Send) -> Send:
    """Answers with an error are JSON with one sentence in `message`, without traces and inputs."""
    status, parts = 0, []

    async def pass_on(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        if status < _REFUSED:
            await send(message)
        elif message["type"] == "http.response.body":
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                await _answer(send, status, *_sentence(b"".join(parts), status))

    return pass_on


def _sentence(body: bytes, status: int) -> tuple[str, str]:
    """The sentence and code in an answer of MLflow, which may quote the whole request around it."""
    try:
        told = json.loads(body)
        text, code = told.get("message", told.get("detail")), told.get("error_code", "BAD_REQUEST")
    except (ValueError, AttributeError):
        text = body.decode("utf-8", "replace").strip()
        code = "INTERNAL_ERROR" if status >= _FAILED else "BAD_REQUEST"
    text = str(text).partition("\nInput:")[0]
    return text.rpartition("\nError: ")[2].strip(), str(code)


async def _answer(send: Send, status: int, text: str, code: str = "BAD_REQUEST") -> None:
    body = json.dumps({"error_code": code, "message": text}).encode()
    length = str(len(body)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", length)]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _serve() -> Guard:
    from mlflow.pyfunc import load_model, scoring_server

    limits = json.loads(os.environ[LIMITS])
    # MLflow's advice to those who write models
    with warnings.catch_warnings(record=True):
        model = load_model(os.environ[MODEL], model_config=limits)
    most = limits["max_prompt_characters"] * _BYTES_OF_A_CHARACTER + _BYTES_BESIDE
    return Guard(scoring_server.init(model), most)


# uvicorn imports this file, with the model named by the environment
if MODEL in os.environ:
    app = _serve()
