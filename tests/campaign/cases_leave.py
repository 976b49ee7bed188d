"""Cases: what leaves the machine with a run, and what does not."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.campaign.case import Mechanism, case
from tests.campaign.world import World

LEAVE = Mechanism.LEAVE
PLANTED = "Wonder9876Land"
LONG = 600.0
# where a run leaves traces
_TRACES = (".tinyllm", "mlruns", "mlflow.db", "reports", "models")

_PATCH = """\
from tinyllm.app.tracking.patch import find_changes
changes = find_changes()
print("\\n".join(f"left out: {name}" for name in changes.left_out + changes.new_left_out))
print(changes.patch.decode("utf-8", "replace"))
"""


def _repository(world: World, files: Mapping[str, str], below: str = "") -> Path:
    """A repository with committed files; the current folder is one of it."""
    top = world.folder / "repository"
    for name, text in {"README.md": "read\n", f"{below}notes.txt": "one\n", **files}.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)
    world.shell("git init -q && git add -A && git commit -qm first", cwd=top).succeeded()
    return top / below


def _shown(world: World, place: Path) -> str:
    """The patch of a folder, and the names of what it leaves out."""
    return world.run("python", "-c", _PATCH, cwd=place).succeeded()


def _new(name: str, file: str, text: str) -> None:
    def check(world: World) -> None:
        place = _repository(world, {})
        (place / file).parent.mkdir(parents=True, exist_ok=True)
        (place / file).write_text(text.replace("{planted}", PLANTED))
        shown = _shown(world, place)
        assert f"left out: {file}" in shown
        assert PLANTED not in shown

    check.__name__ = name
    # a key's own first line would make a secret of the page that lists the cases
    given = text.replace("RSA PRIVATE", "...")
    case(LEAVE, f"a new file `{file}`: `{given}`", "it stays here and is named")(check)


_new("new_env", ".env", "TOKEN={planted}")
_new("new_env_of_production", "config/.env.production", "TOKEN={planted}")
_new("new_key", "keys/id_rsa", "{planted}")
_new("new_certificate", "server.pem", "{planted}")
_new("new_credentials", "credentials.json", '{"key": "{planted}"}')
_new("new_notes", "notes.md", "the password is {planted}")
_new("new_settings", "settings.yaml", "password: {planted}")
_new("new_notebook", "study.ipynb", '{"cells": ["{planted}"]}')
_new("new_source_with_password", "run.py", 'password = "{planted}"')
_new("new_source_with_url", "run.py", "u = 'postgresql://ana:{planted}@host/db'")
_new(
    # pragma: allowlist nextline secret
    "new_source_with_private_key",
    "run.py",
    "k = '''-----BEGIN RSA PRIVATE KEY-----\n{planted}'''",  # pragma: allowlist secret
)
_new(
    "new_source_with_aws_key", "deploy.py", 'aws_secret_access_key = "{planted}{planted}{planted}"'
)
_new("new_toml_with_token", "app.toml", 'api_token = "{planted}"')
_new("new_source_named_secret", "my_secrets.py", "x = '{planted}'")


def _changed(name: str, file: str, before: str, after: str) -> None:
    def check(world: World) -> None:
        place = _repository(world, {file: before.replace("{planted}", PLANTED)})
        (place / file).write_text(after.replace("{planted}", PLANTED))
        (place / "notes.txt").write_text("two\n")
        shown = _shown(world, place)
        assert f"left out: {file}" in shown
        assert PLANTED not in shown
        assert "+two" in shown

    check.__name__ = name
    given = f"the tracked `{file}` changes from `{before}` to `{after}`"
    case(LEAVE, given, "this change stays here and is named, others do not")(check)


_changed("change_adds_a_password", "run.py", "x = 1\n", 'x = 1\npassword = "{planted}"\n')
_changed("change_removes_a_password", "run.py", 'password = "{planted}"\n', "x = 1\n")
_changed(
    "change_beside_a_password",
    "run.py",
    'password = "{planted}"\nx = 1\n',
    'password = "{planted}"\nx = 2\n',
)
_changed("change_of_an_env", ".env", "A=1\n", "A={planted}\n")
_changed("change_of_a_url", "params.yaml", "source: a\n", "source: s3://key:{planted}@bucket/a\n")


@case(LEAVE, "the user staged a new `.env`", "it stays here and is named, the index is as before")
def staged_env(world: World) -> None:
    """Staged is not recorded."""
    place = _repository(world, {})
    (place / ".env").write_text(f"TOKEN={PLANTED}")
    world.shell("git add .env", cwd=place).succeeded()
    shown = _shown(world, place)
    assert "left out: .env" in shown
    assert PLANTED not in shown
    assert "A  .env" in world.shell("git status --short", cwd=place).succeeded()


@case(LEAVE, "300 MB lie untracked, and 20 MB changed", "named, within seconds and little memory")
def large_files(world: World) -> None:
    """Nobody's data is copied five times."""
    place = _repository(world, {"big.csv": "a\n"})
    with (place / "data.bin").open("wb") as file:
        file.truncate(300_000_000)
    (place / "big.csv").write_text("1,2\n" * 5_000_000)
    result = world.run("python", "-c", _PATCH, cwd=place, limit=20)
    result.succeeded("left out: data.bin", "left out: big.csv")
    assert result.megabytes < 400
    assert len(result.out) < 1000


@case(LEAVE, "a megabyte of source is new", "the patch is made within seconds")
def large_source(world: World) -> None:
    """Looking for secrets takes no minute."""
    place = _repository(world, {})
    (place / "tables.py").write_text("value = some_function(of, its, arguments)\n" * 20_000)
    world.run("python", "-c", _PATCH, cwd=place, limit=20).succeeded("+value = some_function")


@case(LEAVE, "the project lies in a subfolder of a larger repository", "only its own changes leave")
def project_in_a_subfolder(world: World) -> None:
    """Other teams' work is theirs."""
    files = {"other/team.py": "x = 1\n", "team/project/run.py": "y = 1\n"}
    place = _repository(world, files, below="team/project/")
    for name in ("other/team.py", "other/new.py", "team/project/run.py", "team/project/new.py"):
        (world.folder / "repository" / name).write_text("z = 2\n")
    shown = _shown(world, place)
    assert "b/team/project/run.py" in shown
    assert "b/team/project/new.py" in shown
    assert "other" not in shown


@case(LEAVE, "an ignored file holds a secret", "it is neither recorded nor named")
def ignored_file(world: World) -> None:
    """What git ignores is nobody's business."""
    place = _repository(world, {".gitignore": "*.py\n"})
    (place / "run.py").write_text(f"x = '{PLANTED}'")
    shown = _shown(world, place)
    assert PLANTED not in shown
    assert "run.py" not in shown


def _found(place: Path, secrets: tuple[str, ...]) -> list[str]:
    """Files among the traces of a run that hold one of the secrets."""
    files = [path for name in _TRACES for path in (place / name, *(place / name).rglob("*"))]
    return [
        str(path)
        for path in files
        if path.is_file() and any(secret.encode() in path.read_bytes() for secret in secrets)
    ]


def _plant(world: World, place: Path) -> None:
    (place / ".env").write_text(f"TOKEN={PLANTED}1")
    (place / "keys").mkdir()
    (place / "keys" / "id_rsa").write_text(f"{PLANTED}2")
    (place / "run_it.py").write_text(f'password = "{PLANTED}3"\n')
    params = (place / "params.yaml").read_text()
    # pragma: allowlist nextline secret
    comment = f"# s3://key:{PLANTED}4@bucket and https://{PLANTED}5@host\n"
    (place / "params.yaml").write_text(params + comment)
    remote = f"https://ana:{PLANTED}6@github.com/ana/x.git"  # pragma: allowlist secret
    world.shell(f"git remote add origin {remote}", cwd=place).succeeded()


@case(
    LEAVE,
    "secrets in environment, store, remote, files, params; the pipeline runs; `grep`",
    "found 0 times in .tinyllm, mlruns, mlflow.db, reports, models, logs, output",
    slow=True,
)
def planted_secrets(world: World) -> None:
    """Everything that the pipeline writes and says."""
    place = world.made()
    shutil.rmtree(place / ".tinyllm")
    shutil.rmtree(place / "mlruns")
    (place / "mlflow.db").unlink()
    _plant(world, place)
    env = {
        "AWS_ACCESS_KEY_ID": f"{PLANTED}7",
        "AWS_SECRET_ACCESS_KEY": f"{PLANTED}8",
        "MLFLOW_TRACKING_PASSWORD": f"{PLANTED}9",
        "MY_OWN_TOKEN": f"{PLANTED}0",
        "DATABASE_PASSWORD": f"{PLANTED}a",
        "SOME_URL": f"https://ana:{PLANTED}b@host",  # pragma: allowlist secret
    }
    said = ""
    for stage in ("train", "evaluate", "export"):
        result = world.run("dvc", "repro", "-f", "-s", stage, cwd=place, env=env, limit=LONG)
        result.succeeded()
        said += result.out + result.err
    # pragma: allowlist nextline secret
    down = {**env, "MLFLOW_TRACKING_URI": f"http://ana:{PLANTED}c@127.0.0.1:9"}
    result = world.run("dvc", "repro", "-f", "-s", "train", cwd=place, env=down, limit=LONG)
    for command in (("runs",), ("sync",), ("history",), ("promote",)):
        failed = world.tinyllm(*command, cwd=place, env=down)
        failed.told("127.0.0.1")
        said += failed.out + failed.err
    said += result.out + result.err
    assert PLANTED not in said
    assert _found(place, (PLANTED,)) == []
    # what they look for is there, so the search can find something
    assert _found(place, ("b/params.yaml", "the-salt-duke"))


@case(LEAVE, "a source with a password in its URL", "no message holds the password")
def source_with_password(world: World) -> None:
    """Neither of the command nor of the log."""
    place = world.outs()
    secret = f"s3://ana:{PLANTED}@bucket/text.txt"
    result = world.tinyllm("prepare", "--source", secret, "--out", "prepared", cwd=place)
    assert result.code
    assert PLANTED not in result.out + result.err
    assert _found(place, (PLANTED,)) == []


@case(LEAVE, "the journal of a run", "only its owner may read it", slow=True)
def private_journal(world: World) -> None:
    """With an open umask, too."""
    place = world.made()
    shutil.rmtree(place / ".tinyllm")
    world.shell("umask 000; dvc repro -f -s evaluate", cwd=place, limit=LONG).succeeded()
    folder = place / ".tinyllm" / "journal"
    assert folder.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())
