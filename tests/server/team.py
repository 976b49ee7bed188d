"""The team's servers as docs/server.md starts them, in a temporary folder on free ports."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.server.commands import run_blocks, script, server_environment

_PATIENCE = 120.0


@dataclass
class Team:
    """Running servers: the environment of their page's commands, and how to stop and start them."""

    folder: Path
    environment: dict[str, str]
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        """Where MLflow answers."""
        return f"http://{self.environment['HOST']}:{self.environment['MLFLOW_PORT']}"

    @property
    def member(self) -> dict[str, str]:
        """What a member's shell has: the three variables and the names that the page's use."""
        names = ("HOST", "S3_PORT", "MLFLOW_PORT", "MEMBER", "MEMBER_PASSWORD")
        return {
            **server_environment(self.folder),
            **{name: self.environment[name] for name in names},
            "MLFLOW_TRACKING_URI": self.uri,
            "MLFLOW_TRACKING_USERNAME": self.environment["MEMBER"],
            "MLFLOW_TRACKING_PASSWORD": self.environment["MEMBER_PASSWORD"],
        }

    def run(self, *names: str) -> None:
        """Run blocks of the page as who keeps the server."""
        run_blocks("settings", *names, folder=self.folder, environment=self.environment)

    def restart_mlflow(self, **changes: str) -> None:
        """Start MLflow anew, with other settings if need be."""
        self.stop("mlflow")
        self.start("mlflow", **changes)
        self.wait("mlflow", f"{self.uri}/api/2.0/mlflow/users/get")

    def start(self, name: str, **changes: str) -> None:
        """Start the server of a block in the background, in a process group of its own."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                script("settings", name),
                cwd=self.folder,
                env={**self.environment, **changes},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def stop(self, name: str) -> None:
        """End a server and whatever it started."""
        process = self.processes.pop(name)
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)

    def wait(self, name: str, url: str) -> None:
        """Wait until a server answers at all; a refusal for want of a password is an answer."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline and self.processes[name].poll() is None:
            try:
                urllib.request.urlopen(url, timeout=5)
            except urllib.error.HTTPError as error:
                if error.code < 500:
                    return
            except OSError:
                pass
            else:
                return
            time.sleep(0.3)
        log = (self.folder / f"{name}.log").read_text("utf-8", "replace")[-3000:]
        raise AssertionError(f"{name} does not answer at {url}:\n{log}")


@contextlib.contextmanager
def running_team() -> Iterator[Team]:
    """All servers of the page with an account for one member; everything is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="tinyllm-team-"))
    team = Team(folder, _settings(folder))
    # whoever ends the tests early ends the servers too
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _start_database(team)
        team.run("s3-config")
        team.start("s3")
        team.wait("s3", f"http://127.0.0.1:{team.environment['S3_PORT']}/")
        team.run("buckets")
        team.start("mlflow")
        team.wait("mlflow", f"{team.uri}/api/2.0/mlflow/users/get")
        team.run("account")
        yield team
    finally:
        for name in list(team.processes):
            team.stop(name)
        _stop_database(team)
        shutil.rmtree(folder, ignore_errors=True)
        signal.signal(signal.SIGTERM, before)


def free_ports(count: int) -> list[str]:
    """Free ports whose number plus ten thousand, which SeaweedFS takes for gRPC, is free too."""
    found: list[str] = []
    with contextlib.ExitStack() as stack:
        while len(found) < count:
            try:
                one = stack.enter_context(socket.socket())
                one.bind(("127.0.0.1", 0))
                # out of the range that the system gives to outgoing connections
                port = 10_000 + one.getsockname()[1] % 10_000
                for number in (port, port + 10_000):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", number))
            except OSError:
                continue
            found.append(str(port))
    return found


def _settings(folder: Path) -> dict[str, str]:
    names = ("DATABASE", "S3", "MLFLOW", "MASTER", "VOLUME", "FILER")
    ports = {f"{name}_PORT": port for name, port in zip(names, free_ports(6), strict=True)}
    words = ("DATABASE_PASSWORD", "S3_KEY", "S3_SECRET", "ADMIN_PASSWORD", "MEMBER_PASSWORD")
    words += ("MLFLOW_FLASK_SERVER_SECRET_KEY",)
    chosen = {name: secrets.token_hex(12) for name in words}
    fixed = {"TEAM": str(folder), "HOST": "127.0.0.1", "MEMBER": "member", "WORKERS": "1"}
    return {**server_environment(folder), **ports, **chosen, **fixed}


def _start_database(team: Team) -> None:
    """PostgreSQL refuses to run as root: then the folder belongs to the package's own user."""
    if os.geteuid() == 0:
        team.folder.chmod(0o755)
        shutil.chown(team.folder, "postgres", "postgres")
    _as_who_keeps_the_database(team, *script("settings", "database"))


def _stop_database(team: Team) -> None:
    stop = 'pg_ctl --pgdata "$TEAM/postgres" --mode immediate --wait --silent stop'
    if (team.folder / "postgres" / "postmaster.pid").exists():
        settings = script("settings")
        _as_who_keeps_the_database(team, *settings[:-1], f"{settings[-1]}\n{stop}")


def _as_who_keeps_the_database(team: Team, *command: str) -> None:
    user = {"user": "postgres", "group": "postgres", "extra_groups": []}
    result = subprocess.run(
        command,
        cwd=team.folder,
        env=team.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        **(user if os.geteuid() == 0 else {}),
    )
    if result.returncode:
        raise AssertionError(f"PostgreSQL: {result.stderr}")
