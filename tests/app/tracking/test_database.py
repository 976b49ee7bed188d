"""The SQLite store: made aside, recognized when half-made, never taken for what it is not."""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.campaign.store_kill import IN_PLACE, SYNC, kill_once
from tests.waiting import wait_until
from tinyllm.app.tracking import background, database
from tinyllm.app.tracking.background import BackgroundDelivery
from tinyllm.app.tracking.database import (
    Condition,
    examine,
    is_being_made,
    make_ready,
)
from tinyllm.base.errors import TinyLLMError

pytestmark = pytest.mark.medium


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def run_sql(path, *statements):
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


MAKE = database._make


@pytest.fixture(autouse=True)
def copied_tables(monkeypatch, empty_store):
    """MLflow takes seconds to make its tables, so most tests copy them."""
    monkeypatch.setattr(database, "_make", lambda path, _: shutil.copyfile(empty_store, path))


@pytest.fixture
def made_by_mlflow(copied_tables, monkeypatch):
    monkeypatch.setattr(database, "_make", MAKE)


@pytest.fixture
def half_made(tmp_path, empty_store):
    """What a kill in the middle of MLflow's migrations leaves: tables, and nothing in them."""
    path = tmp_path / "mlflow.db"
    shutil.copyfile(empty_store, path)
    run_sql(path, "DELETE FROM experiments", "DROP TABLE registered_models")
    return path


@pytest.fixture
def meanwhile(monkeypatch):
    """Do something when a new store is complete, and not yet in its place."""

    def arrange(action):
        publish = database._publish

        def publish_late(unfinished, path):
            action()
            publish(unfinished, path)

        monkeypatch.setattr(database, "_publish", publish_late)

    return arrange


def test_a_store_is_made_whole_and_nothing_else_beside_it(tmp_path, made_by_mlflow, meanwhile):
    path = tmp_path / "deep" / "mlflow.db"
    before = []
    meanwhile(lambda: before.append(examine(path)))
    make_ready(path)
    assert before == [Condition.ABSENT]
    assert examine(path) is Condition.WHOLE
    assert names(path.parent) == ["mlflow.db", "mlflow.db.lock"]
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{path}")
    assert [one.name for one in client.search_experiments()] == ["Default"]
    client.create_experiment("tinyllm")


def test_a_whole_store_is_left_alone(tmp_path, empty_store, meanwhile):
    path = tmp_path / "mlflow.db"
    shutil.copyfile(empty_store, path)
    before = path.read_bytes()
    meanwhile(lambda: pytest.fail("a store was made"))
    make_ready(path)
    assert path.read_bytes() == before
    assert names(tmp_path) == ["mlflow.db"]


def test_several_that_want_a_store_at_once_get_the_same(tmp_path, meanwhile):
    path, made = tmp_path / "mlflow.db", []
    start = threading.Barrier(4)
    meanwhile(lambda: made.append(1))

    def want(_):
        start.wait()
        make_ready(path)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(want, range(4)))
    assert made == [1]
    assert examine(path) is Condition.WHOLE


def test_a_half_made_store_is_set_aside_and_made_again(half_made, made_by_mlflow):
    content = half_made.read_bytes()
    assert examine(half_made) is Condition.HALF_MADE
    make_ready(half_made)
    assert examine(half_made) is Condition.WHOLE
    assert half_made.with_name("mlflow.db.half-made").read_bytes() == content


def test_names_of_half_made_stores_do_not_collide(half_made):
    half_made.with_name("mlflow.db.half-made").write_text("an earlier one")
    make_ready(half_made)
    assert half_made.with_name("mlflow.db.half-made").read_text() == "an earlier one"
    assert examine(half_made.with_name("mlflow.db.half-made-2")) is Condition.HALF_MADE


def test_a_store_with_data_but_no_experiment_stays(half_made, empty_store):
    shutil.copyfile(empty_store, half_made)
    run_sql(
        half_made,
        "DELETE FROM experiments",
        "INSERT INTO registered_models (name, workspace) VALUES ('mine', 'default')",
    )
    make_ready(half_made)
    assert names(half_made.parent) == ["mlflow.db"]


def test_a_link_to_a_place_for_a_store_is_followed(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "mlflow.db").symlink_to("disk/store.db")
    make_ready(tmp_path / "mlflow.db")
    assert (tmp_path / "mlflow.db").is_symlink()
    assert examine(tmp_path / "disk/store.db") is Condition.WHOLE


def test_an_empty_file_is_no_store_yet(tmp_path):
    (tmp_path / "mlflow.db").touch()
    make_ready(tmp_path / "mlflow.db")
    assert examine(tmp_path / "mlflow.db") is Condition.WHOLE


def finish(half_made, whole):
    """Make a store whole in one transaction, as MLflow's last one does."""
    with (
        contextlib.closing(sqlite3.connect(whole)) as source,
        contextlib.closing(sqlite3.connect(half_made, timeout=60)) as target,
    ):
        source.backup(target)


def test_a_half_made_store_that_another_program_works_on_is_waited_for(
    half_made, empty_store, monkeypatch
):
    program = "import sys, time; file = open(sys.argv[1]); print(flush=True); time.sleep(600)"
    command = [sys.executable, "-c", program, str(half_made)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        monkeypatch.setattr(database, "_PATIENCE", 1.0)
        with pytest.raises(TinyLLMError, match="has held MLflow's unfinished store"):
            make_ready(half_made)
        assert examine(half_made) is Condition.HALF_MADE
        monkeypatch.setattr(database, "_PATIENCE", 600.0)
        with ThreadPoolExecutor(1) as pool:
            ready = pool.submit(make_ready, half_made)
            wait_until(lambda: is_being_made(half_made))
            finish(half_made, empty_store)
            ready.result()
        other.kill()
    assert names(half_made.parent) == ["mlflow.db", "mlflow.db.lock"]


@pytest.mark.parametrize(
    "fill",
    [
        lambda path: path.write_text("garbage " * 100),
        lambda path: run_sql(path, "CREATE TABLE songs (name)", "INSERT INTO songs VALUES (1)"),
        lambda path: run_sql(
            path, "CREATE TABLE experiments (a)", "INSERT INTO experiments VALUES (1)"
        ),
        lambda path: run_sql(
            path,
            "CREATE TABLE jobs (a)",
            "INSERT INTO jobs VALUES (1)",
            "CREATE TABLE tags (a)",
        ),
        lambda path: run_sql(path, "CREATE TABLE tags (a)"),
        lambda path: run_sql(path, "CREATE VIEW v AS SELECT 1"),
        lambda path: run_sql(path, "PRAGMA application_id = 7", "VACUUM"),
        lambda path: path.mkdir(),
    ],
    ids=[
        "no database",
        "another database",
        "a table of the same name",
        "tables of the same names",
        "an empty table of the same name",
        "a view",
        "another program's mark",
        "a folder",
    ],
)
def test_what_is_no_store_stays_and_is_told(tmp_path, fill):
    path = tmp_path / "mlflow.db"
    fill(path)
    with pytest.raises(TinyLLMError) as caught:
        make_ready(path)
    assert str(caught.value).startswith(f"{path} is not a store of MLflow; ")
    assert examine(path) is Condition.FOREIGN
    assert names(tmp_path) == ["mlflow.db", "mlflow.db.lock"]


def test_an_older_store_is_not_upgraded_behind_its_owners_back(tmp_path, empty_store):
    path = tmp_path / "mlflow.db"
    shutil.copyfile(empty_store, path)
    run_sql(path, "DROP TABLE webhooks")
    before = path.read_bytes()
    with pytest.raises(TinyLLMError) as caught:
        make_ready(path)
    assert f"'mlflow db upgrade sqlite:///{path}'" in str(caught.value)
    assert path.read_bytes() == before


def test_a_store_that_somebody_else_made_meanwhile_is_kept(tmp_path, empty_store, meanwhile):
    path = tmp_path / "mlflow.db"
    meanwhile(lambda: shutil.copyfile(empty_store, path))
    make_ready(path)
    assert path.read_bytes() == empty_store.read_bytes()
    assert names(tmp_path) == ["mlflow.db", "mlflow.db.lock"]


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(TinyLLMError, match="cannot be opened: "):
        make_ready(tmp_path / "file" / "mlflow.db")


def test_who_makes_a_store_is_seen(tmp_path, meanwhile):
    path = tmp_path / "mlflow.db"
    assert not is_being_made(path)
    seen = []
    meanwhile(lambda: seen.append(is_being_made(path)))
    make_ready(path)
    assert seen == [True]
    assert not is_being_made(path)


@contextlib.contextmanager
def command_that_waits():
    """The end of a command whose delivery process was halted, and goes on in the block."""
    delivery = BackgroundDelivery("b" * 32, "train")
    os.kill(delivery._process.pid, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        finished = pool.submit(delivery.finish, 0.2)
        with pytest.raises(TimeoutError):
            finished.result(2)
        assert delivery._process.poll() is None
        os.kill(delivery._process.pid, signal.SIGCONT)
        yield finished


def test_a_command_waits_for_a_store_that_is_being_made(workspace, monkeypatch):
    """Our own patience never ends the making of a store."""
    monkeypatch.setattr(background, "_is_making_store", lambda: True)
    with command_that_waits() as finished:
        assert finished.result() == ""


def test_a_command_waits_for_a_process_that_has_yet_to_make_the_store(workspace):
    (workspace / "mlflow.db").unlink()
    with command_that_waits() as finished:
        # once the store is there, patience counts again
        finished.result()
    assert examine(workspace / "mlflow.db") is Condition.WHOLE


def test_a_delivery_that_makes_no_store_is_not_waited_for(workspace):
    delivery = BackgroundDelivery("b" * 32, "evaluate")
    os.kill(delivery._process.pid, signal.SIGSTOP)
    assert delivery.finish(0.2) == "it was not done after 0.2 seconds"


def test_a_newer_store_is_told_from_an_older_one(tmp_path, empty_store):
    path = tmp_path / "mlflow.db"
    shutil.copyfile(empty_store, path)
    run_sql(path, "DROP TABLE webhooks", "UPDATE alembic_version SET version_num = 'feedc0ffee'")
    with pytest.raises(TinyLLMError, match="from a newer version of MLflow than"):
        make_ready(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "after", [*(pytest.param(time, marks=pytest.mark.exhaustive) for time in (0.05, 0.4)), 1.0]
)
def test_a_kill_while_a_store_is_made_loses_nothing(tmp_path, after):
    assert kill_once(tmp_path, SYNC, after).good


@pytest.mark.slow
@pytest.mark.parametrize("after", [pytest.param(0.2, marks=pytest.mark.exhaustive), 0.8])
def test_a_store_that_mlflow_left_half_made_is_recognized(tmp_path, after):
    outcome = kill_once(tmp_path, IN_PLACE, after)
    assert outcome.delivered
    if outcome.left is Condition.HALF_MADE:
        assert (tmp_path / "mlflow.db.half-made").exists()
