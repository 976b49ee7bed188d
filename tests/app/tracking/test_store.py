"""Which store is used, and opening it."""

import os
import threading

import pytest

from tinyllm.app.tracking.store import (
    connect,
    experiment_id,
    repository_root,
    tracking_uri,
    working_folder,
)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A current folder that is no main repository, and no setting that names one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def test_without_settings_everything_is_kept_in_the_current_folder(elsewhere):
    assert repository_root() == elsewhere
    assert working_folder() == elsewhere / ".tinyllm"
    assert tracking_uri() == f"sqlite:///{elsewhere}/mlflow.db"


@pytest.mark.parametrize("root", ["main", "main/sub/..", "./main"])
def test_dvc_names_the_main_repository(elsewhere, monkeypatch, root):
    (elsewhere / "main" / "sub").mkdir(parents=True)
    monkeypatch.setenv("DVC_ROOT", root)
    assert repository_root() == elsewhere / "main"
    assert working_folder() == elsewhere / "main" / ".tinyllm"
    assert tracking_uri() == f"sqlite:///{elsewhere}/main/mlflow.db"


def test_an_empty_root_counts_as_none(elsewhere, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", "")
    assert repository_root() == elsewhere


def test_the_environment_names_another_store(elsewhere, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example:5000")
    assert tracking_uri() == "http://mlflow.example:5000"
    assert working_folder() == elsewhere / ".tinyllm"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    assert tracking_uri() == f"sqlite:///{elsewhere}/mlflow.db"


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ("sqlite:///mlflow.db", "mlflow.db"),
        ("sqlite:///./mlflow.db", "mlflow.db"),
        ("sqlite:///sub//x.db", "sub/x.db"),
        ("sqlite:///sqlite", "sqlite"),
        ("sqlite:///x.db?timeout=9", "x.db?timeout=9"),
    ],
)
def test_a_relative_store_is_the_main_repositorys(elsewhere, monkeypatch, given, place):
    (elsewhere / "main").mkdir()
    monkeypatch.setenv("DVC_ROOT", "main")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
    assert tracking_uri() == f"sqlite:///{elsewhere}/main/{place}"


def test_asking_for_places_writes_nothing(elsewhere):
    working_folder()
    tracking_uri()
    assert list(elsewhere.iterdir()) == []


def test_connecting_opens_the_store_of_the_main_repository(workspace):
    client = connect()
    assert client.tracking_uri == f"sqlite:///{workspace}/mlflow.db"
    assert [found.name for found in client.search_experiments()] == ["Default"]
    assert not (workspace / "mlruns").exists()


def test_connecting_to_a_server_neither_waits_nor_writes(workspace):
    client = connect("http://127.0.0.1:9")
    assert client.tracking_uri == "http://127.0.0.1:9"
    assert not (workspace / ".tinyllm").exists()


def test_connecting_bounds_the_wait_for_a_server(workspace, monkeypatch):
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    connect()
    assert int(os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]) < 5
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"


def test_an_experiment_is_created_once_with_its_artifacts_in_the_main_repository(workspace):
    client = connect()
    first = experiment_id(client, "plays")
    assert experiment_id(client, "plays") == first
    assert experiment_id(client, "poems") != first
    found = client.get_experiment(first)
    assert found.name == "plays"
    assert found.artifact_location == (workspace / "mlruns").as_uri()


def test_an_experiment_made_by_others_keeps_its_place(workspace):
    client = connect()
    made = client.create_experiment("plays", artifact_location=(workspace / "mine").as_uri())
    assert experiment_id(client, "plays") == made
    assert client.get_experiment(made).artifact_location == (workspace / "mine").as_uri()


def test_two_that_create_an_experiment_at_once_get_the_same(workspace):
    found, start = [], threading.Barrier(4)

    def create():
        client = connect()
        start.wait()
        found.append(experiment_id(client, "plays"))

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
