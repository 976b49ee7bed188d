"""A reduced copy of the project whose first stages have run, for real experiments."""

from pathlib import Path

import pytest
import yaml

from tests.project import copy_project, run_in


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    copy_project(folder)
    place = folder / "params.yaml"
    params = yaml.safe_load(place.read_text(encoding="utf-8"))
    # long enough to be caught in the middle
    params["train"] |= {"max_steps": 300}
    params["runtime"] |= {"checkpoint_interval": 0}
    place.write_text(yaml.safe_dump(params), encoding="utf-8")
    run_in(folder, "dvc", "repro", "tokenize")
    run_in(folder, "git", "add", "--all")
    run_in(folder, "git", "commit", "--quiet", "--message", "what all experiments share")
    return folder


@pytest.fixture
def find_all(project):
    """All runs in the project's MLflow, by the first word of their name."""

    def find() -> dict:
        from mlflow import MlflowClient

        client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
        experiment = client.get_experiment_by_name("tinyllm")
        found = client.search_runs([experiment.experiment_id])
        return {run.info.run_name.partition(" ")[0]: run for run in found}

    return find
