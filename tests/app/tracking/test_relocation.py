"""A store follows its project, and nothing else."""

import contextlib
import shutil
import sqlite3
from pathlib import Path

import pytest

from tinyllm.app.tracking.relocation import files_of, follow
from tinyllm.app.tracking.store import connect, experiment_id

pytestmark = pytest.mark.medium


@pytest.fixture
def project(workspace):
    """A project with a run that has a file, and an experiment whose files are elsewhere."""
    client = connect()
    # as it is made, the store's tables were copied from elsewhere
    run = client.create_run(experiment_id(client, "plays"))
    client.log_text(run.info.run_id, "salt", "note.txt")
    client.create_experiment("mine", artifact_location=(workspace.parent / "mine").as_uri())
    (workspace / ".tinyllm").mkdir()
    return workspace


def places(folder):
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as store:
        rows = store.execute("SELECT name, artifact_location FROM experiments").fetchall()
        runs = store.execute("SELECT artifact_uri FROM runs").fetchall()
    return dict(rows), [uri for (uri,) in runs]


def test_a_moved_store_leads_to_its_files_and_leaves_others(project, tmp_path_factory):
    after = tmp_path_factory.mktemp("a b%20c#d") / "project"
    project.rename(after)
    follow(after / "mlflow.db")
    experiments, (run,) = places(after)
    home = files_of(after / "mlflow.db").as_uri()
    assert experiments["Default"] == f"{home}/0"
    assert experiments["plays"] == home
    assert experiments["mine"] == (project.parent / "mine").as_uri()
    assert run.startswith(f"{home}/")
    client = connect(f"sqlite:///{str(after).replace('%', '%25')}/mlflow.db")
    (found,) = client.search_runs([client.get_experiment_by_name("plays").experiment_id])
    path = client.download_artifacts(found.info.run_id, "note.txt")
    assert Path(path).read_text() == "salt"
    after.rename(project)


@pytest.mark.parametrize("with_files", [True, False])
def test_a_copy_never_leads_to_the_files_of_the_original(project, tmp_path, with_files):
    copy = shutil.copytree(project, tmp_path / "copy")
    if not with_files:
        shutil.rmtree(copy / "mlruns")
    original = (project / "mlflow.db").read_bytes()
    follow(copy / "mlflow.db")
    assert str(project) + "/mlruns" not in str(places(copy))
    assert (project / "mlflow.db").read_bytes() == original


def test_a_store_alone_still_leads_to_the_files_where_they_are(project, tmp_path):
    (tmp_path / "backup").mkdir()
    shutil.copy(project / "mlflow.db", tmp_path / "backup")
    before = places(tmp_path / "backup")
    follow(tmp_path / "backup" / "mlflow.db")
    assert places(tmp_path / "backup") == before


def test_a_link_to_the_project_is_no_move(project, tmp_path):
    before = (project / "mlflow.db").read_bytes()
    (tmp_path / "link").symlink_to(project)
    follow(tmp_path / "link" / "mlflow.db")
    assert (project / "mlflow.db").read_bytes() == before


def test_files_of_the_same_beginning_are_not_taken_for_ours(project, tmp_path):
    other = (project / "mlruns-old").as_uri()
    connect().create_experiment("old", artifact_location=other)
    copy = shutil.copytree(project, tmp_path / "copy")
    follow(copy / "mlflow.db")
    assert places(copy)[0]["old"] == other
