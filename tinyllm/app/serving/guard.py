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
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

MODEL, LIMITS = "TINYLLM_SERVED_MODEL", "TINYLLM_SERVED_LIMITS"
# JSON may write a character as two escapes of six bytes, and names some parameters
_BYTES_OF_A_CHARACTER, _BYTES_BESIDE = 12, 100_000
_TABLES, _COLUMN = ("dataframe_records", "dataframe_split", "inputs", "instances"), "prompt"
# seconds
_PATIENCE_FOR_A_BODY = 60
_REFUSED, _FAILED, _NOWHERE, _TOO_SLOW, _TOO_LARGE, _UNKNOWN_KIND = 400, 500, 404, 408, 413, 415
# MLflow has others, for pages that fetch programs from elsewhere
_ROUTES = ("/invocations", "/health", "/ping", "/version")
_LONGEST_SENTENCE = 300

# the served model looks for it by name, and stops working for a client that has left
client_left: ContextVar[threading.Event] = ContextVar("client_left")


class Refused(Exception):
    """A request that is not passed on: a status and a sentence."""


class Guard:
    """Checks a request before it is passed on, notices when its client leaves, words the errors.

    The application runs a request in a thread, which nothing can end from outside; so the thread is
    told by an event that nobody waits any more.
    """

    def __init__(
        self, application: Application, limits: Mapping[str, Any], params: Collection[str]
    ) -> None:
        """Guard an application.

        Args:
            application: MLflow's scoring server.
            limits: the section `serve`, as a mapping.
            params: the names that `params` of a request may have.
        """
        self._application, self._limits, self._params = application, limits, params
        characters = limits["max_prompt_characters"]
        self._most_bytes = characters * _BYTES_OF_A_CHARACTER + _BYTES_BESIDE

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one connection's request, see https://asgi.readthedocs.io."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        try:
            body = await self._checked_body(scope, receive)
        except Refused as refused:
            await _answer(send, *refused.args)
            return
        await self._pass_on(scope, body, receive, send)

    async def _checked_body(self, scope: Message, receive: Receive) -> bytes:
        if scope["path"] not in _ROUTES:
            raise Refused(_NOWHERE, f"There is nothing here; the routes are {', '.join(_ROUTES)}.")
        try:
            body = await asyncio.wait_for(self._read(receive), _PATIENCE_FOR_A_BODY)
        except TimeoutError:
            raise Refused(_TOO_SLOW, "The request did not arrive within a minute.") from None
        if body is None:
            text = f"The request has more than {self._most_bytes:,} bytes; send fewer characters."
            raise Refused(_TOO_LARGE, text)
        if scope["method"] == "POST":
            kind = dict(scope["headers"]).get(b"content-type", b"").decode("latin-1")
            match kind.partition(";")[0].strip().lower():
                case "application/json":
                    await asyncio.to_thread(self._check_json, body)
                case "text/csv":
                    pass
                case _:
                    text = "Send JSON with Content-Type application/json, or CSV with text/csv."
                    raise Refused(_UNKNOWN_KIND, text)
        return body

    def _check_json(self, body: bytes) -> None:
        """Refuse what MLflow would make a large table of, or pass over.

        Raises:
            Refused: this is no request.
        """
        try:
            asked = json.loads(body)
        except (ValueError, RecursionError):
            raise Refused(
                _REFUSED, "The request is not JSON, or JSON that nothing reads."
            ) from None
        if not isinstance(asked, dict) or not {*asked} <= {*_TABLES, "params"}:
            known = ", ".join((*_TABLES, "params"))
            raise Refused(_REFUSED, f"The request must be an object with some of the keys {known}.")
        for name in {*asked} & {*_TABLES}:
            self._check_table(name, asked[name])
        params = asked.get("params") or {}
        if not isinstance(params, dict) or not {*params} <= {*self._params}:
            known = ", ".join(self._params)
            raise Refused(_REFUSED, f"params must be an object with some of the keys {known}.")

    def _check_table(self, name: str, table: Any) -> None:
        if name == "dataframe_split":
            fits = isinstance(table, dict) and table.get("columns") == [_COLUMN]
        elif isinstance(table, dict):
            fits = {*table} == {_COLUMN}
        else:
            rows = table if isinstance(table, list) else [table]
            fits = all({*row} == {_COLUMN} for row in rows if isinstance(row, dict))
        if not fits:
            raise Refused(_REFUSED, f"{name} must hold the column {_COLUMN!r} and no other.")
        most = self._limits["max_prompts"]
        if isinstance(table, list) and len(table) > most:
            text = (
                f"The request holds {len(table):,} prompts; one request may hold at most {most:,}."
            )
            raise Refused(_REFUSED, text)

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
    text = " ".join(text.rpartition("\nError: ")[2].split())
    if len(text) > _LONGEST_SENTENCE:
        text = f"{text[:_LONGEST_SENTENCE]}..."
    return text, str(code)


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
    params = model.metadata.get_params_schema()
    return Guard(scoring_server.init(model), limits, [param.name for param in params])


# uvicorn imports this file, with the model named by the environment
if MODEL in os.environ:
    app = _serve()
