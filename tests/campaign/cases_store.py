"""Cases: stores that cannot be opened, and addresses of none."""

import contextlib
import http.server
import os
import socket
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.campaign.case import Mechanism, case
from tests.campaign.world import World

BARRIER = Mechanism.BARRIER
BACK = "when the store is back"
PLANTED = "wonderland-9876"
READERS = (
    ["runs"],
    ["compare", "aaaa", "bbbb"],
    ["significance", "aaaa", "bbbb"],
    ["history"],
    ["promote"],
    ["rollback"],
    ["sync"],
    ["generate", "x", "--model", "models:/tinyllm@champion"],
    ["reproduce", "models:/tinyllm@champion"],
)

# addresses of none, by the name of the case, and what the sentence has to hold
ADDRESSES = {
    "address_without_scheme": ("localhost:5000", "http://localhost:5000"),
    "address_of_a_number": ("127.0.0.1:5000", "http://127.0.0.1:5000"),
    "address_with_a_password_and_no_scheme": ("ana:{pw}@host:5000", "http://"),
    "address_of_a_folder": ("./mlruns", "sqlite:///mlflow.db"),
    "address_of_a_bare_folder": ("mlruns", "sqlite:///mlflow.db"),
    "address_of_a_file_store": ("file:///tmp/mlruns", "sqlite:///mlflow.db"),
    "address_of_file_alone": ("file:", "sqlite:///mlflow.db"),
    "address_of_a_database_file": ("mlflow.db", "sqlite:///mlflow.db"),
    "address_misspelled": ("htp://x", "http://x"),
    "address_of_postgres": ("postgres://ana:{pw}@host/db", "postgresql://"),
    "address_without_driver": ("mysql://ana:{pw}@host/db", "pip install 'mysqlclient'"),
    "address_of_no_driver": ("postgresql+nothing://ana:{pw}@host/db", "postgresql://"),
    "address_with_two_slashes": ("sqlite://mlflow.db", "sqlite:///mlflow.db"),
    "address_in_memory": ("sqlite:///:memory:", "sqlite:///mlflow.db"),
    "address_at_home": ("sqlite:///~/mlflow.db", "sqlite:///"),
    "address_of_databricks": ("databricks", "Databricks"),
    "address_of_spaces": ("  ", "spaces"),
    "address_with_a_line_break": ("http://localhost:5000\n", "line breaks"),
    "address_without_host": ("http://", "http://localhost:5000"),
    "address_with_a_word_for_a_port": ("http://host:port", "http://localhost:5000"),
    "address_of_a_bucket": ("s3://bucket/mlruns", "http://"),
}


def _address(name: str, uri: str, words: str) -> None:
    def check(world: World) -> None:
        place = {"MLFLOW_TRACKING_URI": uri.replace("{pw}", PLANTED)}
        result = world.tinyllm("runs", env=place)
        result.told(words)
        assert BACK not in result.err
        assert PLANTED not in result.out + result.err
        assert [path.name for path in world.folder.iterdir()] in ([], [".tinyllm"])

    check.__name__ = name
    case(BARRIER, f"`MLFLOW_TRACKING_URI={uri!r} tinyllm runs`", f"a sentence with {words}")(check)


for _name, (_uri, _words) in ADDRESSES.items():
    _address(_name, _uri, _words)


def _sql(path: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as store, store:
        for statement in statements:
            store.execute(statement)


@case(BARRIER, "`printf garbage > mlflow.db`, then every command on it", "a sentence", slow=True)
def store_garbage(world: World) -> None:
    """No command shows a traceback, and none promises that it will do later."""
    (world.folder / "mlflow.db").write_text("garbage")
    folder = world.folder / ".tinyllm" / "journal"
    folder.mkdir(parents=True)
    (folder / f"{'a' * 32}.jsonl").write_text('{"kind": "status", "time": 1, "value": "FAILED"}\n')
    for command in READERS:
        result = world.tinyllm(*command)
        result.told("mlflow.db is not a store of MLflow")
        assert BACK not in result.err
    assert (world.folder / "mlflow.db").read_text() == "garbage"


@case(BARRIER, "mlflow.db is a folder", "a sentence within seconds, and the folder stays")
def store_folder(world: World) -> None:
    """It is not tried again and again."""
    (world.folder / "mlflow.db").mkdir()
    result = world.tinyllm("runs", limit=30)
    result.told("mlflow.db is not a store of MLflow")


@case(BARRIER, "mlflow.db ends in a loop of links", "a sentence")
def store_loop(world: World) -> None:
    """Links that lead nowhere."""
    (world.folder / "mlflow.db").symlink_to("mlflow.db")
    world.tinyllm("runs").told("mlflow.db")


@case(BARRIER, "mlflow.db is another program's database", "a sentence, and it stays as it is")
def store_of_another_program(world: World) -> None:
    """Whatever has the name is not taken for ours."""
    path = world.folder / "mlflow.db"
    _sql(path, "CREATE TABLE songs (name)", "INSERT INTO songs VALUES ('duke')")
    before = path.read_bytes()
    world.tinyllm("history").told("is not a store of MLflow")
    assert path.read_bytes() == before


@case(BARRIER, "mlflow.db is cut off in the middle", "a sentence")
def store_cut_off(world: World) -> None:
    """A disk that was full while it was copied."""
    path = world.outs("mlflow.db") / "mlflow.db"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    world.tinyllm("runs", cwd=path.parent).told("mlflow.db")


@case(BARRIER, "mlflow.db of an older version of MLflow", "a sentence with `mlflow db upgrade`")
def store_older(world: World) -> None:
    """It is not upgraded in passing."""
    place = world.outs("mlflow.db")
    _sql(place / "mlflow.db", "UPDATE alembic_version SET version_num = '451aebb31d03'")
    world.tinyllm("runs", cwd=place).told("mlflow db upgrade sqlite:///", "older version")


@case(BARRIER, "mlflow.db of an older version that lacks tables", "`mlflow db upgrade` again")
def store_lacking_tables(world: World) -> None:
    """As versions before webhooks left it."""
    place = world.outs("mlflow.db")
    version = "UPDATE alembic_version SET version_num = '451aebb31d03'"
    _sql(place / "mlflow.db", "DROP TABLE webhook_events", "DROP TABLE webhooks", version)
    world.tinyllm("history", cwd=place).told("mlflow db upgrade sqlite:///")


@case(BARRIER, "mlflow.db of a newer version of MLflow", "a sentence that says newer, no upgrade")
def store_newer(world: World) -> None:
    """`mlflow db upgrade` would not help."""
    place = world.outs("mlflow.db")
    _sql(place / "mlflow.db", "UPDATE alembic_version SET version_num = 'feedc0ffee12'")
    result = world.tinyllm("runs", cwd=place)
    result.told("newer version", "pip install --upgrade mlflow")
    assert "db upgrade" not in result.err


@case(BARRIER, "another program has locked mlflow.db", "a sentence within a minute", slow=True)
def store_locked(world: World) -> None:
    """As a backup or a browser of databases does."""
    place = world.outs("mlflow.db")
    with contextlib.closing(sqlite3.connect(place / "mlflow.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        result = world.tinyllm("runs", cwd=place, limit=60)
    result.told("locked")
    assert BACK not in result.err


@contextlib.contextmanager
def _server(status: int, body: bytes = b"<html>x</html>") -> Iterator[str]:
    """A web server that answers everything alike."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the library's name

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@case(BARRIER, "MLFLOW_TRACKING_URI names a web page", "a sentence", slow=True)
def store_web_page(world: World) -> None:
    """Any server but MLflow's."""
    with _server(200) as uri:
        for command in READERS[:4]:
            world.tinyllm(*command, env={"MLFLOW_TRACKING_URI": uri}).told(uri)


@case(BARRIER, "a server answers 404 to everything", "a sentence")
def store_not_found(world: World) -> None:
    """A wrong path behind a proxy."""
    with _server(404) as uri:
        result = world.tinyllm("runs", env={"MLFLOW_TRACKING_URI": uri})
    result.told("404")


@case(BARRIER, "a server answers 503 to everything, `tinyllm sync`", "'when the store is back'")
def store_failing(world: World) -> None:
    """It is said of stores that are down."""
    place = world.outs(".tinyllm/journal")
    with _server(503) as uri:
        result = world.tinyllm("sync", cwd=place, env={"MLFLOW_TRACKING_URI": uri})
    result.told("HTTP status 503", BACK)


@case(BARRIER, "a server asks for an account, `tinyllm sync`", "which variables, no 'is back'")
def store_with_accounts(world: World) -> None:
    """It is not down."""
    place = world.outs(".tinyllm/journal")
    with _server(401) as uri:
        result = world.tinyllm("sync", cwd=place, env={"MLFLOW_TRACKING_URI": uri})
    result.told("MLFLOW_TRACKING_USERNAME")
    assert BACK not in result.err


@case(BARRIER, "nothing listens where the server should be", "a sentence in seconds", slow=True)
def store_refused(world: World) -> None:
    """`tinyllm sync` says when, the others only what."""
    place = world.outs(".tinyllm/journal")
    env = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    world.tinyllm("sync", cwd=place, env=env, limit=30).told("127.0.0.1:9", BACK)
    world.tinyllm("runs", cwd=place, env=env, limit=30).told("127.0.0.1:9")


@case(BARRIER, "a database server that is down", "a sentence within 20 seconds")
def store_database_down(world: World) -> None:
    """MLflow alone would try for 100 seconds."""
    address = f"postgresql+psycopg2://ana:{PLANTED}@127.0.0.1:9/db"
    result = world.tinyllm("runs", env={"MLFLOW_TRACKING_URI": address}, limit=20)
    result.told("127.0.0.1")
    assert PLANTED not in result.out + result.err


@case(BARRIER, "a database server that never answers", "a sentence within half a minute", slow=True)
def store_database_silent(world: World) -> None:
    """It takes the connection, and says nothing."""
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        address = f"postgresql+psycopg2://ana@127.0.0.1:{mute.getsockname()[1]}/db"
        world.tinyllm("runs", env={"MLFLOW_TRACKING_URI": address}, limit=30).told("127.0.0.1")


def as_a_reader(world: World, place: Path, *arguments: str) -> None:
    """Run a command as a user who may read everything, and write nothing in the project."""
    reader = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    reader += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    if os.geteuid():
        world.run("chmod", "-R", "a-w", str(place))
        reader = []
    (world.folder / "home").mkdir(exist_ok=True, mode=0o777)
    (world.folder / "home").chmod(0o777)
    line = [*reader, "tinyllm", *arguments]
    env = {"HOME": str(world.folder / "home"), "TMPDIR": str(world.folder / "home")}
    try:
        world.shell(" ".join(line), cwd=place, env=env).succeeded()
    finally:
        world.run("chmod", "-R", "u+w", str(place))


@case(BARRIER, "another user runs `tinyllm runs` and `history`", "works, writes nothing", slow=True)
def store_of_another_user(world: World) -> None:
    """Reading needs no right to write."""
    place = world.made()
    world.tinyllm("runs", cwd=place).succeeded()
    (place / ".tinyllm" / "journal" / f"{'a' * 32}.recording").touch()
    as_a_reader(world, place, "runs")
    as_a_reader(world, place, "history")


@case(BARRIER, "another user generates with models:/tinyllm@champion", "works", slow=True)
def model_of_another_user(world: World) -> None:
    """The registry's files are only read."""
    place = world.made()
    world.tinyllm("runs", cwd=place).succeeded()
    as_a_reader(world, place, "generate x --model models:/tinyllm@champion --max-new-tokens 4")


@case(BARRIER, "another user reads a project that was copied", "runs are listed")
def copy_of_another_user(world: World) -> None:
    """The places in its store cannot be corrected, which hinders no list."""
    place = world.made()
    as_a_reader(world, place, "runs")
