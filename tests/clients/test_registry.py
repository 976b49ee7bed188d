"""GTO and DVC's registry of artifacts: the model registered, assigned to a stage, and fetched."""

import pytest

from tests.project import copy_made, run_in
from tinyllm.formats.load import load_model

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]
VERSION = "v1.0.0"


def test_gto_registers_the_model_and_dvc_fetches_it(made_project, tmp_path):
    project = copy_made(made_project, tmp_path / "project")
    run_in(project, "gto", "register", "tinyllm", "--version", VERSION)
    run_in(project, "gto", "assign", "tinyllm", "--version", VERSION, "--stage", "production")
    shown = run_in(project, "gto", "show", "tinyllm@latest", "--json").stdout
    assert f'"version": "{VERSION}"' in shown
    assert '"production"' in shown
    desk = tmp_path / "desk"
    desk.mkdir()
    # by the stage DVC finds the version, and by that the commit
    run_in(
        desk,
        "dvc",
        "artifacts",
        "get",
        str(project),
        "tinyllm",
        "--stage",
        "production",
        "-o",
        "got",
    )
    export, committed = desk / "got", project / "models/export"
    names = sorted(path.relative_to(committed) for path in committed.rglob("*.*"))
    assert sorted(path.relative_to(export) for path in export.rglob("*.*")) == names
    assert load_model(export).tokenizer.alphabet == load_model(committed).tokenizer.alphabet
