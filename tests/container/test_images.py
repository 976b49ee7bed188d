"""The container images are built, small, run as a plain user, and work together."""

import json
import os
import subprocess
import urllib.error
import urllib.request

import pytest
import yaml

from tests.container.images import DEPLOY, Container, build, build_base, missing_tools
from tests.project import copy_project
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.exhaustive,
    pytest.mark.skipif(bool(missing_tools()) or os.geteuid() != 0, reason="needs buildah and root"),
]
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
QUESTION = {"dataframe_records": [{"prompt": "O"}], "params": {"max_new_tokens": 5}}
MLFLOW, SERVER = "http://127.0.0.1:5000", "http://127.0.0.1:5001"


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


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError:
        return False
    except OSError:
        return False


def healthy(container):
    """Whether the image's own check says so."""
    kind, *words = container.config["Healthcheck"]["Test"]
    assert kind == "CMD"
    return (
        subprocess.run(container.command(words), capture_output=True, check=False).returncode == 0
    )


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


def test_the_pipeline_trains_and_the_server_serves_what_it_registered(container, tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    copy_project(project)
    run(["chown", "-R", "4321:4321", str(project)])
    shown = container("mlflow")
    log = tmp_path / "log"
    words = ["--backend-store-uri=sqlite:////tmp/mlflow.db", "--artifacts-destination=/tmp/files"]
    hosts = [word for word in COMPOSE["services"]["mlflow"]["command"] if "allowed-hosts" in word]
    with shown.running([*words, *hosts], log):
        wait_until(lambda: healthy(shown), between=1)
        one = container("pipeline")
        where = {"MLFLOW_TRACKING_URI": MLFLOW}
        words = [*one.config["Entrypoint"], *one.config["Cmd"]]
        # the repository's owner, as compose.yaml runs it
        print(run(one.command(words, where, {project: "/work"}, "4321:4321")))
        server = container("server")
        with server.running([], log, where):
            wait_until(lambda: healthy(server), between=1)
            request = urllib.request.Request(
                f"{SERVER}/invocations",
                json.dumps(QUESTION).encode(),
                {"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request) as answer:
                (text,) = json.load(answer)["predictions"]
            assert text["text"].startswith("O")
            assert len(text["text"]) == 6
        wait_until(lambda: not answers(f"{SERVER}/health"), between=0.5)
