"""What a training does not wait for: packages that its first step can do without."""

import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.project import clean_environment
from tinyllm.app.tracking.background import ELSEWHERE_VARIABLE

# torch's compiler and what it needs, what other stages need, what another process does
NEEDLESS = (
    *("torch._dynamo", "torch._inductor", "sympy", "networkx", "mpmath"),
    *("mlflow", "pandas", "sqlalchemy", "matplotlib", "transformers", "onnx", "dvc", "optuna"),
    *("torch.distributed.fsdp", "numpy.testing", "scipy", "sklearn"),
)
PROGRAM = f"""
import os, sys
from stages.train import PATHS
from tinyllm.base.command import run_stage
from tinyllm.base import events
from tinyllm.training import command

def told(self, event):
    print(sorted(set({NEEDLESS!r}) & set(sys.modules)), flush=True)
    os._exit(0)

from tinyllm.app.watch import display
display.TrainingDisplay._step = told
run_stage(command.train, PATHS)
"""


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_the_first_step_needs_no_compiler_and_no_package_of_another_stage(
    tmp_path, tokens, optimizer
):
    shutil.copytree(tokens, tmp_path / "data/tokens")
    text = (ROOT / "tests/pipeline/reduced.yaml").read_text(encoding="utf-8")
    text = text.replace("train: {", f"train: {{optimizer: {optimizer}, teacher_order: 3, ")
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    shown = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env=clean_environment() | {"PYTHONPATH": str(ROOT), ELSEWHERE_VARIABLE: "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.stdout.splitlines()[-1:] == ["[]"], shown.stdout + shown.stderr
