"""Benchmarks that no other test runs still measure something."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT

PRESET = "presets/shakespeare-cpu.yaml"
ALONE = {"params": PRESET}
TOGETHER = {
    "params": PRESET,
    "train": {"gradient_accumulation_steps": 2, "batch_size": 4},
    "numerics": {"processes": 2, "threads": 1},
    "together": True,
}


@pytest.mark.slow
@pytest.mark.parametrize("task", [ALONE, TOGETHER], ids=["alone", "together"])
def test_the_parts_of_a_step_are_measured(task):
    command = [sys.executable, "benchmarks/step_parts.py", "--task", json.dumps(task)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    times = json.loads(done.stdout.splitlines()[-1])
    assert 0 < times["step"] < 60_000
    assert all(value >= 0 for name, value in times.items() if name != "backward")
