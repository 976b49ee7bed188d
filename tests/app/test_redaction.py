"""No password is shown, logged or recorded."""

import io
import logging
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from tinyllm.app.cli import main
from tinyllm.app.logger import get_logger, setup_logger
from tinyllm.app.redaction import (
    hide_in_log,
    take_password_from_url,
    without_secrets,
    without_secrets_in,
)

pytestmark = pytest.mark.medium


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:hunter2@host:5000/a", "http://host:5000/a"),  # pragma: allowlist secret
        ("at https://me:p@ss@host, and", "at https://host, and"),  # pragma: allowlist secret
        ("https://token-alone@host/x", "https://host/x"),
        ("no file s3:/key:{}@bucket/x".format("hunter2"), "no file s3:/bucket/x"),
        ("git@host:duke/x.git", "git@host:duke/x.git"),
        # pragma: allowlist nextline secret
        ("postgresql+psycopg2://u:p%40w@db/mlflow", "postgresql+psycopg2://db/mlflow"),
        # pragma: allowlist nextline secret
        ("'mysql://u:p@db' and \"s3://k:s@b\"", "'mysql://db' and \"s3://b\""),
        ("postgresql://db/x?user=u&password=hunter2", "postgresql://db/x?user=u&password=***"),
        ("http://host/x?api_key=hunter2&b=1", "http://host/x?api_key=***&b=1"),
        ("http://host/#/experiments/1?orderBy=a", "http://host/#/experiments/1?orderBy=a"),
        ("sqlite:////home/me@work/c#/mlflow.db", "sqlite:////home/me@work/c#/mlflow.db"),
        ("mail duke@example.org at 10:30", "mail duke@example.org at 10:30"),
    ],
)
def test_urls_lose_what_only_the_store_needs(text, shown):
    assert without_secrets(text) == shown
    assert without_secrets(shown) == shown


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MLFLOW_TRACKING_PASSWORD", "hunter22"),
        ("MLFLOW_TRACKING_TOKEN", "hunter22"),
        ("MLFLOW_TRACKING_URI", "mysql://me:hunter22@host/db"),  # pragma: allowlist secret
        ("MLFLOW_TRACKING_URI", "http://me:hunter22@x@host"),  # pragma: allowlist secret
        ("MLFLOW_TRACKING_URI", "mysql://me:hunter2%32@host/db"),  # pragma: allowlist secret
    ],
)
def test_the_stores_password_is_hidden_wherever_it_stands(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert "hunter22" not in without_secrets(f"refused hunter22@x, {value}, {value}/a")


@pytest.mark.parametrize(
    "name",
    [
        "AWS_SECRET_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SESSION_TOKEN",
        "GITHUB_TOKEN",
        "HF_TOKEN",
        "MY_OWN_PASSWORD",
        "WANDB_API_KEY",
        "CLIENT_SECRET",
        "db_passwd",
    ],
)
def test_a_secret_of_the_environment_is_hidden(monkeypatch, name):
    monkeypatch.setenv(name, "wonderland-9876")
    assert without_secrets("at wonderland-9876, or so") == "at ***, or so"


@pytest.mark.parametrize("name", ["TOKENIZER", "KEYBOARD", "TOKENS_FOLDER", "MONKEY", "PASSAGE"])
def test_other_variables_are_not_secret(monkeypatch, name):
    monkeypatch.setenv(name, "wonderland")
    assert without_secrets("at wonderland") == "at wonderland"


def test_secrets_leave_plain_values():
    values = {"source": "s3://key:{}@bucket/x".format("hunter22"), "step": 3, "tags": {"a": None}}
    assert without_secrets_in(values) == {**values, "source": "s3://bucket/x"}


def test_a_password_that_no_url_should_hold_is_hidden_too(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hunter/22@host")
    assert without_secrets("no host in http://me:hunter/22@host") == "no host in http://host"


@pytest.mark.parametrize(
    "uri",
    [
        "http://user:p/w#1@127.0.0.1:9",
        "http:/user:SECRETpw@127.0.0.1",
        "user:SECRETpw@127.0.0.1",
        "mysql://u:SE@CRETpw@127.0.0.1/db",  # pragma: allowlist secret
    ],
)
def test_a_url_that_is_written_wrongly_loses_its_password_too(monkeypatch, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    # what a driver makes of it, which takes the first `@` for the end of the password
    host = uri.partition("@")[2]
    shown = without_secrets(f"cannot use {uri}/api, no host {host}")
    assert not [part for part in ("p/w", "SECRETpw", "CRETpw") if part in shown]
    assert "127.0.0.1" in shown


def test_a_folder_of_a_sqlite_store_is_shown_as_it_is(monkeypatch):
    uri = "sqlite:////home/me@work/a:b@c/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert without_secrets(f"{uri} and b@c") == f"{uri} and b@c"


def test_a_librarys_log_holds_no_password(monkeypatch, caplog):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "mysql://u:hunter22@h/db")  # pragma: allowlist secret
    logger = logging.getLogger("library")
    monkeypatch.setattr(logger, "handlers", [caplog.handler])
    monkeypatch.setattr(caplog.handler, "filters", [])
    hide_in_log("library")
    try:
        raise ValueError("mysql://u:hunter22@h/db")  # pragma: allowlist secret
    except ValueError:
        logger.exception("refused: %s", "hunter22")
    assert "refused" in caplog.text
    assert "hunter22" not in caplog.text


def test_a_servers_password_leaves_the_url():
    # pragma: allowlist nextline secret
    environment = {"MLFLOW_TRACKING_URI": "https://me:h%40nter2@host:5000/x@y"}
    take_password_from_url(environment)
    assert environment == {
        "MLFLOW_TRACKING_URI": "https://host:5000/x@y",
        "MLFLOW_TRACKING_USERNAME": "me",
        "MLFLOW_TRACKING_PASSWORD": "h@nter2",  # pragma: allowlist secret
    }


def test_variables_that_are_set_already_stay():
    environment = {
        "MLFLOW_TRACKING_URI": "http://me:old@host",  # pragma: allowlist secret
        "MLFLOW_TRACKING_USERNAME": "you",
        "MLFLOW_TRACKING_PASSWORD": "new",  # pragma: allowlist secret
    }
    take_password_from_url(environment)
    assert environment["MLFLOW_TRACKING_URI"] == "http://host"
    assert environment["MLFLOW_TRACKING_USERNAME"] == "you"
    assert environment["MLFLOW_TRACKING_PASSWORD"] == "new"  # pragma: allowlist secret


@pytest.mark.parametrize(
    "uri",
    # pragma: allowlist nextline secret
    ["", "sqlite:///a@b.db", "http://host/a@b", "postgresql://me:hunter2@host/db"],
)
def test_other_stores_keep_their_url(uri):
    environment = {"MLFLOW_TRACKING_URI": uri} if uri else {}
    before = dict(environment)
    take_password_from_url(environment)
    assert environment == before


def test_the_screen_and_the_log_file_hold_no_password(tmp_path, monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr("sys.stderr", screen)
    setup_logger(tmp_path / "log")
    try:
        # pragma: allowlist nextline secret
        get_logger("test").warning("cannot reach %s", "http://me:hunter2@host")
        try:
            raise ValueError("http://me:hunter2@host")  # pragma: allowlist secret
        except ValueError:
            get_logger("test").exception("failed")
    finally:
        for handler in logging.getLogger("tinyllm").handlers:
            handler.flush()
        monkeypatch.undo()
        setup_logger()
    log = (tmp_path / "log").read_text(encoding="utf-8")
    for text in (screen.getvalue(), log):
        assert "cannot reach http://host" in text
        assert "hunter2" not in text


# pragma: allowlist nextline secret
STORES = ("http://duke:hunter22@127.0.0.1:9", "postgresql://duke:hunter22@127.0.0.1:9/mlflow")
COMMANDS = (
    ["runs"],
    ["history"],
    ["compare", "a", "b"],
    ["significance", "a", "b"],
    ["promote"],
    ["rollback"],
    ["generate", "x", "--model", "models:/tinyllm@champion"],
    ["reproduce", "models:/tinyllm@champion"],
    ["sync"],
)


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_no_command_tells_the_password_of_a_store_that_is_down(
    workspace, monkeypatch, store, command
):
    from tinyllm.app.tracking.journal import Journal
    from tinyllm.app.tracking.store import journal_folder

    Journal(journal_folder(), "a" * 32).add(
        "run", stage="train", experiment="tinyllm", name="run", params={}, tags={}
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for name in ("USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert "hunter22" not in result.output + repr(result.exception)
    found = [path for path in workspace.rglob("*") if path.is_file()]
    assert not [path for path in found if b"hunter22" in path.read_bytes()]


# pragma: allowlist nextline secret
@pytest.mark.parametrize("store", ["htp://duke:hunter22@host", "databricks://duke:hunter22@x"])
def test_a_traceback_tells_no_password(workspace, store):
    environment = {**os.environ, "MLFLOW_TRACKING_URI": store}
    command = [sys.executable, "-m", "tinyllm.app.cli", "runs"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr
    assert "hunter22" not in result.stdout + result.stderr
