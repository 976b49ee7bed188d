"""Errors of MLflow and its stores, explained as part of a sentence."""

import contextlib
import os
import re
from collections.abc import Iterator

from tinyllm.app.redaction import without_secrets
from tinyllm.base.errors import TinyLLMError

_STATUS = re.compile(
    r"(?:error code|status code|too many) (\d{3})\b|\b(\d{3}) (?:Client|Server) Error"
)
_DOWN = re.compile(
    r"HTTP status 5|connection (?:refused|reset|aborted|timed out)|max retries exceeded"
    r"|timed out|timeout expired|could not connect|can't connect|no route to host"
    r"|name or service not known|could not translate host name|failed to resolve"
    r"|server closed the connection",
    re.IGNORECASE,
)
_MEANINGS = {
    "database is locked": "another program has locked its database; end that one, or wait for it",
    "disk image is malformed": "it is damaged; move it away, and 'tinyllm sync' makes it anew",
    "readonly database": "its database may only be read",
    "Connection refused": "nothing answers there (connection refused)",
    "Name or service not known": "its host cannot be found (failed to resolve)",
    "Failed to resolve": "its host cannot be found (failed to resolve)",
    "Read timed out": "it did not answer in time (timed out)",
    "Connection reset": "it broke off (connection reset)",
    "Connection aborted": "it broke off (connection aborted)",
}
_LONGEST = 300


@contextlib.contextmanager
def explained(what: str, hint: str = "") -> Iterator[None]:
    """Turn whatever MLflow raises in the block into one sentence.

    Raises:
        TinyLLMError: `what`, with the reason and the hint.
    """
    try:
        yield
    except TinyLLMError:
        raise
    except Exception as error:
        raise TinyLLMError(f"{what}: {reason(error)}{hint}.") from None


def reason(error: BaseException) -> str:
    """Why a request to the store failed, without a period."""
    text = without_secrets(" ".join(str(error).split()))
    if isinstance(error, OSError) and isinstance(error.filename, str):
        return f"{error.filename} cannot be read or written ({error.strerror})"
    if refusal := _refusal(_status(text)):
        return refusal
    for part, meaning in _MEANINGS.items():
        if part in text:
            return meaning
    # a driver's SQL says nothing to a user
    text = text.partition(" [SQL:")[0].partition(" (Background on this error")[0]
    return text[:_LONGEST].rstrip(". ") or type(error).__name__


def _refusal(status: int) -> str:
    """What an HTTP status means; empty if the text beside it says more."""
    user = os.environ.get("MLFLOW_TRACKING_USERNAME")
    if status == 401 and user:
        return f"it does not accept the password of '{user}' in MLFLOW_TRACKING_PASSWORD"
    if status == 401:
        return "it wants an account: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    if status == 403:
        return f"it does not allow '{user or 'anybody without an account'}' to do that"
    if status >= 500:
        return f"the server failed with HTTP status {status}; its own log says why"
    return ""


def is_down(why: str) -> bool:
    """Whether a reason says that a store did not answer, and may when it is back."""
    return bool(_DOWN.search(why))


def _status(text: str) -> int:
    found = _STATUS.search(text)
    return int(found[1] or found[2]) if found else 0
