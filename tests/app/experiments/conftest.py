"""A reduced copy of the project whose first stages have run, for real experiments."""

import shutil
from pathlib import Path

import pytest
import yaml

from tests.project import copy_project, run_in
from tests.queue_kill import runs_in

# long enough to be caught in the middle
STEPS = 160


@pytest.fixture(scope="module")
def project(tmp_path_factory, empty_store) -> Path:
    folder = tmp_path_factory.mktemp("project")
    copy_project(folder)
    shutil.copyfile(empty_store, folder / "mlflow.db")
    place = folder / "params.yaml"
    params = yaml.safe_load(place.read_text(encoding="utf-8"))
    params["train"] |= {"max_steps": STEPS}
    params["runtime"] |= {"checkpoint_interval": 0}
    params["export"] = {"formats": ["pyfunc"], "verify_with": ["onnxruntime"]}
    place.write_text(yaml.safe_dump(params), encoding="utf-8")
    run_in(folder, "dvc", "repro", "tokenize")
    run_in(folder, "git", "add", "--all")
    run_in(folder, "git", "commit", "--quiet", "--message", "what all experiments share")
    return folder


@pytest.fixture
def find_all(project):
    """All runs in the project's MLflow, by the first word of their name."""
    return lambda: {run.info.run_name.partition(" ")[0]: run for run in runs_in(project)}
