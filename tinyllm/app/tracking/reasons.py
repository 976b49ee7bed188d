"""MLflow's errors, explained as part of a sentence."""

import os
import re

from tinyllm.app.redaction import without_secrets

_STATUS = re.compile(
    r"(?:error code|status code|too many) (\d{3})\b|\b(\d{3}) (?:Client|Server) Error"
)
_LONGEST = 300


def reason(error: BaseException) -> str:
    """Why a request to the store failed, without a period."""
    text = without_secrets(" ".join(str(error).split()))
    found = _STATUS.search(text)
    status = int(found[1] or found[2]) if found else 0
    user = os.environ.get("MLFLOW_TRACKING_USERNAME")
    if status == 401:
        if user:
            return f"it does not accept the password of '{user}' in MLFLOW_TRACKING_PASSWORD"
        return "it wants an account: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    if status == 403:
        return f"it does not allow '{user or 'anybody without an account'}' to do that"
    if status >= 500:
        return f"the server failed with HTTP status {status}; its own log says why"
    return text[:_LONGEST].rstrip(". ")
