"""On a machine that cannot be portable the stages run, and what they leave tells the truth."""

import json
import sys

import pytest

from tests.project import copy_made, run_in
from tinyllm.app.tracking.journal import Journal

# a processor of another kind, and what macOS lacks
ELSEWHERE = """
import os, platform
platform.machine = lambda: "aarch64"
del os.sched_getaffinity, os.sched_setscheduler
"""


@pytest.mark.slow
@pytest.mark.exhaustive
def test_elsewhere_a_run_is_fast_says_so_once_and_records_it(made_project, tmp_path):
    project = copy_made(made_project, tmp_path / "project")
    before = json.loads((project / "models/checkpoint/config.json").read_text())["training"]
    params = (project / "params.yaml").read_bytes()
    (tmp_path / "sitecustomize.py").write_text(ELSEWHERE, encoding="utf-8")
    said = ""
    for stage in ("train", "evaluate", "export"):
        command = ("env", f"PYTHONPATH={tmp_path}", sys.executable, "-m", f"stages.{stage}")
        result = run_in(project, *command)
        said += result.stdout + result.stderr
    assert said.count("This machine (Linux on aarch64) cannot write the portable bytes") == 1
    assert "fast arithmetic on cpu" in said
    assert (project / "params.yaml").read_bytes() == params
    after = json.loads((project / "models/checkpoint/config.json").read_text())["training"]
    assert before["arithmetic"] == {"mode": "portable", "device": "cpu", "precision": "float32"}
    assert after["arithmetic"] == {"mode": "fast", "device": "cpu", "precision": "float32"}
    assert after["fingerprint"] != before["fingerprint"]
    journal = Journal(project / ".tinyllm/journal", after["fingerprint"])
    runs = [event for event, _ in journal.events() if event["kind"] == "run"]
    assert {run["stage"]: run["params"]["numerics.mode"] for run in runs} == dict.fromkeys(
        ("train", "evaluate", "export"), "fast"
    )
