"""Addresses of stores: those that name one, and what is said of the others."""

from pathlib import Path

import pytest

from tinyllm.app.tracking.address import check_address, database_path, database_uri
from tinyllm.base.errors import TinyLLMError


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("sqlite:///mlflow.db", "mlflow.db"),
        ("sqlite:////a/b c.db?timeout=3", "/a/b c.db"),
        ("sqlite:////a/b%20c%25.db", "/a/b c%.db"),
        ("sqlite://", None),
        ("sqlite:///:memory:", None),
        ("http://host", None),
        ("postgresql://user@host/mlflow", None),
    ],
)
def test_the_file_of_a_store(uri, path):
    found = database_path(uri)
    assert (None if found is None else str(found)) == path


@pytest.mark.parametrize("path", ["/a/b.db", "/a b/50%20/c?d#e/ж@x.db"])
def test_the_address_of_a_file_leads_back_to_it(path):
    from sqlalchemy import make_url

    uri = database_uri(Path(path))
    assert make_url(uri).database == path
    assert database_path(uri) == Path(path)


@pytest.mark.parametrize(
    "uri",
    [
        "http://localhost:5000",
        "https://mlflow.example.org/team",
        "http://[::1]:5000",
        "sqlite:////a b/c.db",
        "sqlite:///mlflow.db?timeout=3",
        "postgresql+psycopg2://duke:{password}@host:5432/mlflow",
    ],
)
def test_addresses_of_stores_are_taken(uri):
    check_address(uri)


@pytest.mark.parametrize(
    ("uri", "hint"),
    [
        ("localhost:5000", "'http://localhost:5000'"),
        ("mlflow.example.org:80/team", "'http://mlflow.example.org:80/team'"),
        ("./mlruns", "sqlite:///mlflow.db"),
        ("mlruns", "sqlite:///mlflow.db"),
        ("mlflow.db", "sqlite:///mlflow.db"),
        ("file:", "sqlite:///mlflow.db"),
        ("file:///data/mlruns", "sqlite:///mlflow.db"),
        ("htp://x", "this may be 'http://x'"),
        ("postgres://h/d", "this may be 'postgresql://h/d'"),
        ("HTTP://x", "this may be 'http://x'"),
        ("s3://bucket/x", "begins with http://"),
        ("databricks", "Databricks"),
        ("databricks://profile", "Databricks"),
        (" ", "spaces or line breaks"),
        ("http://host ", "spaces or line breaks"),
        ("http://host\n", "spaces or line breaks"),
        ("http://", "http://localhost:5000"),
        ("http://host:port", "http://localhost:5000"),
        ("http:/host", "http://localhost:5000"),
        ("https://[::1", "http://localhost:5000"),
        ("sqlite://", "sqlite:///mlflow.db"),
        ("sqlite://runs.db", "sqlite:///runs.db"),
        ("sqlite:///:memory:", "sqlite:///mlflow.db"),
        ("sqlite:///~/runs.db", "sqlite:///"),
        ("mysql://host/d", "pip install 'mysqlclient'"),
        ("mysql+pymysql://host/d", "pip install 'pymysql'"),
        ("postgresql://host:port/d", "is not written like"),
        ("postgresql+nothing://host/d", "is not written like"),
    ],
)
def test_what_names_no_store_is_refused_with_what_to_write(uri, hint):
    with pytest.raises(TinyLLMError) as caught:
        check_address(uri)
    assert hint in str(caught.value)


def test_the_runs_of_a_folder_can_be_taken_over(tmp_path):
    with pytest.raises(TinyLLMError) as caught:
        check_address(f"file://{tmp_path}")
    assert f"'mlflow migrate-filestore --source {tmp_path} --target sqlite:///" in str(caught.value)


@pytest.mark.parametrize("scheme", ["htp", "postgresql+nothing", "databricks", "file"])
def test_a_refusal_tells_no_password(scheme):
    with pytest.raises(TinyLLMError) as caught:
        check_address("{}://duke:{}@host/x".format(scheme, "hunter22"))
    assert "hunter22" not in str(caught.value)
