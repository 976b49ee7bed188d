"""`tinyllm report` on a small real repository with a change in it."""

import html
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from click.testing import CliRunner, Result

from tests.conftest import ROOT
from tests.project import copy_made, run_in
from tinyllm.app.cli import main
from tinyllm.app.params import load_params
from tinyllm.app.reporting.markdown import write_report
from tinyllm.app.reporting.revision import Revision, find_revision
from tinyllm.app.verification.verify import Verification
from tinyllm.base.command import section_arguments

pytestmark = pytest.mark.slow

STAGES = {
    "train": ("model", "train", "numerics", "runtime", "display", "tracking"),
    "evaluate": ("evaluate", "numerics", "display", "tracking"),
}


@pytest.fixture(scope="module")
def changed(tokens, tmp_path_factory) -> Path:
    """Two commits of a model and its reports, the second with half the learning rate."""
    folder = tmp_path_factory.mktemp("changed")
    definition = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    stages = {name: {**definition[name], "deps": []} for name in STAGES}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}), encoding="utf-8")
    for name in (".gitignore", ".dvc/config"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    params = (ROOT / "tests/pipeline/reduced.yaml").read_text(encoding="utf-8")
    params = params.replace("tracking: {}", "tracking: {tracking: false}")
    run_in(folder, "git", "init", "--quiet")
    for rate in ("0.02", "0.01"):
        text = params.replace("learning_rate: 0.02", f"learning_rate: {rate}")
        (folder / "params.yaml").write_text(text, encoding="utf-8")
        write_outs(folder, tokens)
        run_in(folder, "dvc", "commit", "--force", "--quiet")
        run_in(folder, "git", "add", "--all")
        run_in(folder, "git", "commit", "--quiet", "--message", f"learning rate {rate}")
    return folder


def write_outs(folder: Path, tokens: Path) -> None:
    """Train and evaluate by the commands, in this process."""
    sections = load_params(folder / "params.yaml")
    checkpoint, reports = folder / "models/checkpoint", folder / "reports"
    paths = {
        "train": ("--out", checkpoint, "--reports", reports / "train"),
        "evaluate": (
            *("--checkpoint", checkpoint, "--history", reports / "train/history.csv"),
            *("--out", reports / "evaluate"),
        ),
    }
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DVC_ROOT", str(folder))
        for stage, names in STAGES.items():
            arguments = [a for name in names for a in section_arguments(sections[name])]
            paths_of = [str(part) for part in ("--tokens", tokens, *paths[stage])]
            result = CliRunner().invoke(main, [stage, *paths_of, *arguments])
            assert result.exit_code == 0, result.output
    torch.set_num_threads(threads)


@pytest.fixture
def report(monkeypatch):
    """Run the command in a project."""
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def run(folder: Path, *arguments: str) -> Result:
        monkeypatch.chdir(folder)
        return CliRunner().invoke(main, ["report", *arguments])

    return run


def test_a_change_is_judged_shown_and_sampled(report, changed, tmp_path):
    result = report(changed, "--no-verify", "--out", str(tmp_path / "report.md"))
    assert result.exit_code == 0, result.output
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "worse beyond the noise" in text
    assert "two standard errors on this test text" in text
    assert re.search(r"train\.learning_rate +\| 0\.02 +\| 0\.01", text)
    assert "bits_per_character" in text
    assert text.count("    line [") == 2
    assert text.count("--- prompt &#x27;O, &#x27;, seed 0") == 2
    samples = Path("reports/evaluate/samples.txt")
    mine, theirs = (changed / samples).read_text(encoding="utf-8"), cached(changed, samples)
    assert mine != theirs
    for written in (mine, theirs):
        assert html.escape(written.strip()).replace("\n", "<br>") in text
    assert "neither in DVC" not in text


def cached(folder: Path, out: Path) -> str:
    """An out of the first commit as DVC's cache holds it."""
    lock = yaml.safe_load(run_in(folder, "git", "show", "HEAD~1:dvc.lock").stdout)
    outs = lock["stages"]["evaluate"]["outs"]
    md5 = next(entry["md5"] for entry in outs if entry["path"] == str(out))
    return (folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:]).read_text(encoding="utf-8")


def test_a_base_that_is_not_there_is_one_sentence(report, changed):
    result = report(changed, "--base", "nowhere", "--no-verify")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: There is no revision 'nowhere' here")


def test_without_a_change_it_says_so(report, changed):
    result = report(changed, "--base", "HEAD", "--no-verify")
    assert result.exit_code == 0
    assert "No figure of the evaluation changed." in result.stdout
    assert result.stdout.count("No difference.") == 2


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (
            Verification(outs=9, environment={"cpu": "a CPU"}),
            "\n\nReproduced: all 9 outs of dvc.lock came out the same on a CPU.\n\n",
        ),
        (
            Verification(outs=9, differences=["train: model.safetensors: differs"], first_step=10),
            (
                "\n\n**NOT reproduced** on this CPU, 9 outs compared:\n\n"
                "- train: model.safetensors: differs\n- training differs from step 10 on\n\n"
            ),
        ),
    ],
)
def test_what_verification_found_is_told(changed, found, told):
    assert told in write_report(find_revision(changed, "HEAD"), Revision(changed), found)


@pytest.mark.exhaustive
def test_it_retrains_and_says_that_the_lock_can_be_made_again(report, made_project, tmp_path):
    project = copy_made(made_project, tmp_path / "project")
    result = report(project)
    assert result.exit_code == 0, result.output
    assert re.search(
        r"^Reproduced: all \d+ outs of dvc\.lock came out", result.stdout, re.MULTILINE
    )
