"""The team's servers, a project that was trained against them, and a second clone of it."""

import importlib.util
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.project import copy_project
from tests.server.commands import run_blocks
from tests.server.team import Team, running_team

Result = subprocess.CompletedProcess[str]
Shell = Callable[..., Result]


def missing_parts() -> list[str]:
    """What docs/server.md wants installed and is not."""
    missing = [
        name for name in ("psycopg2", "boto3", "dvc_s3") if not importlib.util.find_spec(name)
    ]
    missing += [name for name in ("weed", "curl") if shutil.which(name) is None]
    return missing + ([] if list(Path("/usr/lib/postgresql").glob("*/bin/initdb")) else ["initdb"])


@pytest.fixture(scope="session")
def team() -> Iterator[Team]:
    """PostgreSQL, SeaweedFS and MLflow with accounts, as docs/server.md starts them."""
    if missing := missing_parts():
        pytest.skip(f"not installed: {', '.join(missing)}")
    with running_team() as running:
        yield running


@pytest.fixture(scope="session")
def keys(team) -> dict[str, str]:
    """A member's environment with the keys of the S3 store, which only DVC's blocks want."""
    return {**team.member, **{name: team.environment[name] for name in ("S3_KEY", "S3_SECRET")}}


@pytest.fixture(scope="session")
def project(team, tmp_path_factory) -> Path:
    """A copy of the project whose pipeline ran against the team's servers, committed."""
    folder = tmp_path_factory.mktemp("team") / "project"
    folder.mkdir()
    copy_project(folder)
    # a busy machine may need more than the ten seconds that a finished command waits for a server
    run_blocks("member", "train", "sync", folder=folder, environment=team.member)
    run_blocks("remote", folder=folder, environment=team.member)
    shell = ["git", "commit", "--quiet", "--all", "--message", "the pipeline ran"]
    subprocess.run(["git", "add", "--all"], cwd=folder, env=team.member, check=True)
    subprocess.run(shell, cwd=folder, env=team.member, check=True)
    return folder


@pytest.fixture(scope="session")
def clone(project, keys) -> Path:
    """A second clone that pulled what the first pushed."""
    run_blocks("keys", "push", folder=project, environment=keys)
    place = project.parent / "clone"
    subprocess.run(["git", "clone", "--quiet", project, place], env=keys, check=True)
    result = run_blocks("keys", "pull", folder=place, environment=keys)
    (place / "pulled.log").write_text(result.stdout, encoding="utf-8")
    return place


@pytest.fixture
def another(project, tmp_path) -> Path:
    """A copy of the project with another number of steps, so that it has to train."""
    folder = shutil.copytree(project, tmp_path / "another", symlinks=True)
    shutil.rmtree(folder / ".tinyllm")
    params = (folder / "params.yaml").read_text(encoding="utf-8")
    steps = 40 + len(list(tmp_path.parent.iterdir()))
    (folder / "params.yaml").write_text(params.replace("max_steps: 60", f"max_steps: {steps}"))
    return folder


@pytest.fixture
def shell(team) -> Shell:
    """Run a member's command in a folder: `shell(folder, "tinyllm", "runs")`."""

    def run(folder: Path, *command: str, check: bool = True, **changes: str) -> Result:
        result = subprocess.run(
            command,
            cwd=folder,
            env={**team.member, **changes},
            capture_output=True,
            text=True,
            check=False,
        )
        if check and result.returncode:
            raise AssertionError(f"{command} exited {result.returncode}\n{result}")
        return result

    return run
