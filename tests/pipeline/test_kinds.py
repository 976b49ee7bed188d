"""The reduced pipeline with bytes and with byte pairs, from prepare to export."""

import json

import pytest

from tests.project import copy_made, run_in
from tests.queue_kill import runs_in

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]


@pytest.fixture(scope="module")
def project(made_project, tmp_path_factory):
    """A project in which characters, bytes and byte pairs were trained one after the other."""
    folder = copy_made(made_project, tmp_path_factory.mktemp("kinds") / "project")
    params = (folder / "params.yaml").read_text(encoding="utf-8")
    for kind in ("byte", "bpe"):
        changed = params.replace("tokenize: {}", f"tokenize: {{kind: {kind}}}")
        (folder / "params.yaml").write_text(changed, encoding="utf-8")
        run_in(folder, "dvc", "repro")
        run_in(folder, "git", "commit", "--quiet", "--all", "--message", kind)
    return folder


def figures(project, commit):
    """The metrics of the evaluate stage at a commit."""
    shown = run_in(project, "git", "show", f"{commit}:reports/evaluate/metrics.json").stdout
    return json.loads(shown)


def test_all_kinds_are_measured_on_the_same_text(project):
    char, byte, bpe = (figures(project, commit) for commit in ("HEAD~2", "HEAD~1", "HEAD"))
    assert char["fingerprint"] == byte["fingerprint"] == bpe["fingerprint"]
    assert char["characters"] == byte["characters"] == bpe["characters"] == char["tokens"]
    assert bpe["tokens"] < char["tokens"] <= byte["tokens"]
    for found in (char, byte, bpe):
        # what a model of any kind reaches in seconds, and chance does not
        assert 1.5 < found["bits_per_character"] < 4.5
        assert found["bits_per_byte"] <= found["bits_per_character"]


def test_every_kind_is_a_run_and_a_version_that_compare(project):
    runs = runs_in(project)
    assert {run.data.params["tokenize.kind"] for run in runs} == {"char", "byte", "bpe"}
    assert all(
        {"test_bits_per_character", "val_bits_per_character", "test_bits_per_byte"}
        <= run.data.metrics.keys()
        for run in runs
    )
    history = json.loads(run_in(project, "tinyllm", "history", "--json").stdout)
    versions = history["versions"]
    assert len(versions) == 3
    best = min(versions, key=lambda version: version["bits_per_character"])
    assert "champion" in best["aliases"]


def test_every_export_agreed(project):
    parity = json.loads((project / "models/export/parity.json").read_text(encoding="utf-8"))
    assert len(parity) == 7
    assert all(entry["logits"] == "agree" for entry in parity if entry["precision"] == "f32")


def test_a_forced_second_run_writes_the_same_bytes(project):
    run_in(project, "dvc", "repro", "--force", "--no-run-cache")
    assert run_in(project, "git", "status", "--porcelain").stdout == ""
