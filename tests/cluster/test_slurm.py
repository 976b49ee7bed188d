"""The Slurm script is sound, and what it gives to srun trains, stops when asked, and resumes."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

SCRIPT = ROOT / "deploy/cluster/slurm.sh"
NODES, PROCESSES, CORES = 2, 2, 3
STEPS = 300
PARAMS = {
    "prepare": {"source": "text.txt"},
    "model": {"d_model": 32, "num_heads": 1, "num_layers": 1, "d_ff": 32, "sequence_length": 16},
    "train": {
        "max_steps": STEPS,
        "batch_size": 2,
        "gradient_accumulation_steps": NODES * PROCESSES,
        "eval_interval": 50,
    },
    "numerics": {"threads": 1},
    "evaluate": {"prompts": ["O, "]},
    "runtime": {"checkpoint_interval": 1},
    "display": {"progress": False},
    "tracking": {"tracking": False},
}
# starts the command once for each node, all on this machine, and passes signals on
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
for _ in $(seq "$SLURM_JOB_NUM_NODES"); do "$@" & pids+=("$!"); done
trap 'kill -TERM "${pids[@]}"' TERM
code=0
for pid in "${pids[@]}"; do
    while kill -0 "$pid" 2> /dev/null; do wait "$pid" || code=$?; done
done
exit "$code"
"""
SCONTROL = """#!/bin/sh
[ "$*" = "show hostnames node[1-2]" ] && printf 'localhost\\nlocalhost\\n'
"""


@pytest.fixture
def project(tokens, text, tmp_path):
    """A project after the stage tokenize, and Slurm's commands."""
    folder = tmp_path / "project"
    shutil.copytree(ROOT / "stages", folder / "stages")
    shutil.copytree(tokens, folder / "data/tokens")
    shutil.copyfile(ROOT / "dvc.yaml", folder / "dvc.yaml")
    (folder / "text.txt").write_text(text, encoding="utf-8")
    (folder / "params.yaml").write_text(yaml.safe_dump(PARAMS), encoding="utf-8")
    for name, script in {"srun": SRUN, "scontrol": SCONTROL}.items():
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(script, encoding="utf-8")
        program.chmod(0o755)
    return folder


def environment(project):
    programs = (str(project.parent / "bin"), str(Path(sys.executable).parent))
    return {
        **os.environ,
        "PATH": os.pathsep.join([*programs, os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
        "DVC_ROOT": str(project),
        "SLURM_SUBMIT_DIR": str(project),
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_JOB_NUM_NODES": str(NODES),
        "SLURM_CPUS_PER_TASK": str(CORES),
        "SLURM_JOB_ID": str(os.getpid()),
        "PROCESSES": str(PROCESSES),
    }


def submit(project):
    return subprocess.Popen(
        [str(SCRIPT)],
        cwd=project.parent,
        env=environment(project),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_script_is_sound_to_bash_and_to_shellcheck():
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    subprocess.run(["shellcheck", str(SCRIPT)], check=True)
    assert os.access(SCRIPT, os.X_OK)


def test_slurm_gives_a_node_one_task_which_is_torchrun():
    text = SCRIPT.read_text(encoding="utf-8")
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)$", text, re.MULTILINE))
    assert options["ntasks-per-node"] == "1"
    assert options["signal"].startswith("TERM@")


def test_the_step_gets_the_cores_of_the_job(project):
    srun = project.parent / "bin" / "srun"
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', encoding="utf-8")
    printed, _ = submit(project).communicate(timeout=20)
    options = printed.splitlines()
    assert f"--cpus-per-task={CORES}" in options[: options.index("torchrun")]
    assert f"--nnodes={NODES}" in options[options.index("torchrun") :]


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_job_that_is_stopped_and_submitted_again_trains_the_model_that_one_process_trains(
    project, tmp_path
):
    job = submit(project)
    end = time.monotonic() + 120
    while not list(project.glob(".tinyllm/training/*/step-*.json")):
        assert time.monotonic() < end
        time.sleep(0.1)
    # as Slurm does before the time is up
    job.send_signal(signal.SIGTERM)
    printed, _ = job.communicate(timeout=60)
    stopped = set(re.findall(r"^Error: Stopped by a signal at step (\d+);", printed, re.MULTILINE))
    assert len(stopped) == 1, printed
    assert job.returncode
    job = submit(project)
    printed, _ = job.communicate(timeout=240)
    assert job.returncode == 0, printed
    assert f"Resuming at step {stopped.pop()} of {STEPS}." in printed
    together = tmp_path / "together"
    (project / "models/checkpoint").rename(together)
    command = [sys.executable, "-m", "stages.train"]
    subprocess.run(command, cwd=project, env=environment(project), check=True, capture_output=True)
    names = sorted(path.name for path in together.iterdir())
    assert names == ["config.json", "model.safetensors", "tokenizer.json"]
    for name in names:
        assert (together / name).read_bytes() == (project / "models/checkpoint" / name).read_bytes()
