"""The services of deploy/compose.yaml, each as that file starts it, but for PostgreSQL.

PostgreSQL's image cannot be built here; Debian's takes its place, at the same address.
"""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from secrets import token_hex
from typing import Any

import yaml

from tests.container.images import DEPLOY, Container
from tests.waiting import wait_until

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(
    (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
)["services"]
SECRETS = {name: token_hex(8) for name in ("DATABASE_PASSWORD", "S3_KEY", "S3_SECRET")}


def expanded(value: Any) -> Any:
    """A value of the file with its variables replaced, as compose does."""
    if isinstance(value, list):
        return [expanded(part) for part in value]
    if isinstance(value, dict):
        return {key: expanded(part) for key, part in value.items()}
    found = re.sub(r"(?<!\$)\$\{(\w+)[^}]*\}", lambda name: SECRETS[name[1]], str(value))
    return found.replace("$$", "$")


@contextlib.contextmanager
def running(service: str, container: Container, log: Path) -> Iterator[None]:
    """Run a service in a container, from when its health check succeeds until the block ends."""
    settings = expanded(SERVICES[service])
    entry = settings.get("entrypoint", container.config["Entrypoint"])
    words = [*entry, *settings.get("command", [])]
    environment = settings.get("environment", {})
    check = settings.get("healthcheck", {}).get("test", container.config["Healthcheck"]["Test"])
    with container.running(words, log, environment) as process:

        def healthy() -> bool:
            assert process.poll() is None, log.read_text(encoding="utf-8")[-5000:]
            command = container.command(check[1:], environment)
            return subprocess.run(command, capture_output=True, check=False).returncode == 0

        wait_until(healthy, between=1)
        yield


@contextlib.contextmanager
def postgres() -> Iterator[None]:
    """Debian's PostgreSQL with the user, the password and the database of the file."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"))
    # in no folder that is root's alone, since PostgreSQL runs as another user
    folder = Path(tempfile.mkdtemp(prefix="tinyllm-postgres-"))
    data, password = folder / "data", folder / "password"
    password.write_text(SECRETS["DATABASE_PASSWORD"], encoding="utf-8")
    for place in (folder, password):
        shutil.chown(place, "postgres", "postgres")

    def run(program: str, *words: str, environment: Mapping[str, str] = os.environ) -> None:
        subprocess.run(
            [str(programs / program), *words],
            cwd=folder,
            env=environment,
            user="postgres",
            group="postgres",
            extra_groups=[],
            stdout=subprocess.DEVNULL,
            check=True,
        )

    known = ("--auth=scram-sha-256", f"--pwfile={password}")
    run("initdb", f"--pgdata={data}", "--username=mlflow", "--encoding=UTF8", *known)
    place = f"--options=-c listen_addresses=127.0.0.1 -k {data}"
    run("pg_ctl", f"--pgdata={data}", f"--log={folder / 'log'}", "--wait", place, "start")
    try:
        connection = ("--host=127.0.0.1", "--username=mlflow", "mlflow")
        with_password = {**os.environ, "PGPASSWORD": SECRETS["DATABASE_PASSWORD"]}
        run("createdb", *connection, environment=with_password)
        yield
    finally:
        run("pg_ctl", f"--pgdata={data}", "--mode=immediate", "stop")
        shutil.rmtree(folder)
