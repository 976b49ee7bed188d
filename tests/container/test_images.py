"""The container images are built, small, run as a plain user, and work together."""

import json
import os
import subprocess
import urllib.request
from contextlib import ExitStack

import pytest

from tests.container.images import DEPLOY, Container, build, build_base, missing_tools
from tests.container.stack import SERVICES, expanded, postgres, running
from tests.project import copy_project

pytestmark = [
    pytest.mark.slow,
    pytest.mark.exhaustive,
    pytest.mark.skipif(bool(missing_tools()) or os.geteuid() != 0, reason="needs buildah and root"),
]
QUESTION = {"dataframe_records": [{"prompt": "O"}], "params": {"max_new_tokens": 5}}


@pytest.fixture(scope="module")
def base():
    build_base()


@pytest.fixture(scope="module")
def container(base):
    """A function that makes a container of a target; all are removed in the end."""
    made = {}

    def make(target):
        made[target] = made.get(target) or Container(build(target))
        return made[target]

    yield make
    for one in made.values():
        one.remove()


def run(command):
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.parametrize("target", ["server", "mlflow", "pipeline"])
def test_an_image_runs_as_a_plain_user_who_cannot_change_it(container, target):
    one = container(target)
    assert run(one.command(["id", "-u"])).strip() == "1000"
    program = "import os, sys; print(os.access(sys.prefix, os.W_OK))"
    assert run(one.command(["python", "-c", program])).strip() == "False"


def test_the_server_is_small(container):
    words = ["python", "-c", "import importlib.util as u; print(u.find_spec('torch'))"]
    assert run(container("server").command(words)).strip() == "None"
    size = run(container("server").command(["du", "-sm", "/opt/venv"])).split()[0]
    # megabytes; torch alone would take more
    assert int(size) < 450


def test_the_stack_trains_registers_and_serves(container, tmp_path):
    project, log = tmp_path / "project", tmp_path / "log"
    project.mkdir()
    copy_project(project)
    # the repository's owner, whom no image knows
    run(["chown", "-R", "4321:4321", str(project)])
    trainer = container("pipeline")
    with ExitStack() as stack:
        stack.enter_context(postgres())
        stack.enter_context(running("s3", container("mlflow"), log))
        stack.enter_context(running("mlflow", container("mlflow"), log))
        where = expanded(SERVICES["pipeline"]["environment"])
        words = [*trainer.config["Entrypoint"], *trainer.config["Cmd"]]
        run(trainer.command(words, where, {project: "/work"}, "4321:4321"))
        stack.enter_context(running("server", container("server"), log))
        request = urllib.request.Request(
            "http://127.0.0.1:5001/invocations",
            json.dumps(QUESTION).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            (row,) = json.load(answer)["predictions"]
    assert row["text"].startswith("O")
    assert len(row["text"]) == 6


def test_the_compose_file_is_one():
    command = ["check-jsonschema", "--builtin-schema", "vendor.compose-spec"]
    run([*command, str(DEPLOY / "compose.yaml")])
