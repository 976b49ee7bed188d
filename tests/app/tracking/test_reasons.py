"""What MLflow's errors are called; tests/server meets them at a real server."""

import pytest

from tinyllm.app.tracking.reasons import explained, is_down, reason
from tinyllm.base.errors import TinyLLMError

REFUSED = "API request to endpoint /api failed with error code 401 != 200. Response body: 'You ...'"


def test_a_wrong_password_names_the_user_and_the_variable(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "member")
    assert reason(OSError(REFUSED)) == (
        "it does not accept the password of 'member' in MLFLOW_TRACKING_PASSWORD"
    )


def test_no_account_names_the_variables(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME", raising=False)
    assert "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in reason(OSError(REFUSED))


def test_a_lack_of_permission_names_the_user(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "member")
    found = reason(OSError("failed with error code 403 != 200. Response body: 'Permission denied'"))
    assert found == "it does not allow 'member' to do that"


@pytest.mark.parametrize(
    "text",
    [
        "500 Server Error: INTERNAL SERVER ERROR for url: http://localhost/api",
        "API request failed (Caused by ResponseError('too many 500 error responses'))",
        "failed with error code 500 != 200. Response body: '<html>'",
    ],
)
def test_a_failure_of_the_server_is_not_the_users(text):
    assert reason(OSError(text)) == "the server failed with HTTP status 500; its own log says why"


def test_anything_else_is_one_line_without_a_full_stop():
    assert reason(OSError("No such\n  table: runs.")) == "No such table: runs"
    assert len(reason(OSError("x" * 5000))) == 300


@pytest.mark.parametrize(
    ("text", "down"),
    [
        ("HTTPConnectionPool(host='x', port=9): Max retries exceeded with url: /api", True),
        ("connection to server at 127.0.0.1, port 9 failed: Connection refused", True),
        ("API request failed with error code 503 != 200", True),
        ("Read timed out. (read timeout=20)", True),
        ('could not translate host name "db" to address', True),
        ("API request failed with error code 401 != 200", False),
        ("API request failed with error code 404 != 200", False),
        ("(sqlite3.OperationalError) database is locked", False),
        ("mlflow.db is not a store of MLflow", False),
        ("Invalid model name: 'team/tinyllm'", False),
    ],
)
def test_only_a_store_that_does_not_answer_is_down(text, down):
    assert is_down(reason(Exception(text))) is down


def test_a_drivers_sql_is_not_told():
    error = Exception("(x.OperationalError) disk I/O error [SQL: SELECT 1] (Background on ...)")
    assert reason(error) == "(x.OperationalError) disk I/O error"


def test_whatever_the_store_raises_becomes_a_sentence():
    told = pytest.raises(TinyLLMError, match=r"^No runs: database is gone; look\.$")
    with told, explained("No runs", "; look"):
        raise ValueError("database is gone.")
    with pytest.raises(TinyLLMError, match="ours"), explained("No runs"):
        raise TinyLLMError("ours")
