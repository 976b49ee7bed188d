"""What MLflow's errors are called; tests/server meets them at a real server."""

import pytest

from tinyllm.app.tracking.reasons import reason

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
