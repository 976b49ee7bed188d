"""Several processes train together: the same bytes as one, and all end when one ends."""

import concurrent.futures
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from tests.conftest import ROOT, SMALL_MODEL
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.events import StepTaken, ignore
from tinyllm.kernels.config import NumericsConfig
from tinyllm.tokens.windows import load_token_data
from tinyllm.training.config import TrainingConfig
from tinyllm.training.recipe import Recipe
from tinyllm.training.resume import Resume, WorkingCheckpoints
from tinyllm.training.run import run_training
from tinyllm.training.workers import Worker, start_workers

pytestmark = pytest.mark.medium


@pytest.fixture
def train(tokens, arithmetic):
    def run(processes, *, microbatches=2, watch=None, checkpoints=None, others=tokens, **settings):
        settings = {"max_steps": 6, "warmup_steps": 1, "eval_interval": 4} | settings
        config = TrainingConfig(batch_size=2, gradient_accumulation_steps=microbatches, **settings)
        recipe = Recipe(SMALL_MODEL, config, NumericsConfig(threads=1, processes=processes))
        with start_workers(others, recipe, arithmetic) as (group, workers):
            return run_training(
                load_token_data(tokens),
                recipe,
                arithmetic,
                tell=watch(workers) if watch else ignore,
                resume=Resume(checkpoints, interval=0) if checkpoints else None,
                group=group,
            )

    return run


def assert_same(one, other):
    assert one.history == other.history
    assert one.weights.keys() == other.weights.keys()
    assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)


def kills_a_worker(workers):
    """Kill the first of the other processes after three steps."""

    def tell(event):
        if isinstance(event, StepTaken) and event.step == 3:
            os.kill(workers[0].pid, signal.SIGKILL)

    return tell


def running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(("processes", "microbatches"), [(2, 4), (3, 3)])
def test_any_number_of_processes_gives_the_same_bytes(train, processes, microbatches):
    assert SMALL_MODEL.dropout > 0
    alone = train(1, microbatches=microbatches)
    assert_same(alone, train(processes, microbatches=microbatches))


@pytest.mark.slow
def test_a_killed_process_ends_the_run_and_it_resumes(train, tmp_path):
    checkpoints = WorkingCheckpoints(tmp_path / "work")
    with pytest.raises(TinyLLMError, match=r"Process 1 of the 2 .* ended \(SIGKILL\)"):
        train(2, watch=kills_a_worker, checkpoints=checkpoints)
    # the last step counts once all processes agree that it is taken
    assert checkpoints.load_latest().step in (2, 3)
    assert_same(train(2, checkpoints=checkpoints), train(1))


def test_a_process_that_cannot_start_ends_the_run(train, tmp_path):
    (tmp_path / "meta.json").write_text("{}", encoding="utf-8")
    with pytest.raises(TinyLLMError, match=r"Process 1 .* ended \(.* vocab_size: Field required"):
        train(2, others=tmp_path)


def test_a_process_that_refuses_its_machine_says_why(tokens, arithmetic):
    # this process has its arithmetic already, so only the other one looks for the device
    numerics = NumericsConfig(threads=1, processes=2, mode="fast", device="mps")
    recipe = Recipe(SMALL_MODEL, TrainingConfig(batch_size=2), numerics)
    with (
        pytest.raises(TinyLLMError, match=r"Process 1 of the 2 .* ended \(.*mps.*\)"),
        start_workers(tokens, recipe, arithmetic),
    ):
        pass


class EndsItsReader:
    """Ends the process that unpickles it."""

    def __reduce__(self):
        return os._exit, (3,)


def test_a_process_that_ends_at_its_start_without_a_word_is_known_by_its_exit_code(tmp_path):
    worker = Worker(1, tmp_path, EndsItsReader(), "")
    assert not worker.is_ready()
    assert worker.how_it_ended(20) == "exit code 3"


def test_the_other_processes_end_with_this_one(train):
    pids = []

    def fails(workers):
        pids.extend(worker.pid for worker in workers)

        def tell(event):
            raise ZeroDivisionError

        return tell

    with pytest.raises(ZeroDivisionError):
        train(2, watch=fails)
    assert len(pids) == 1
    assert not running(pids[0])


def train_command(tokens, out: Path, *flags, launcher=(), env=None):
    """`tinyllm train` in separate processes, with a separate working folder."""
    shape = ("--d-model=32", "--num-heads=1", "--num-layers=1", "--d-ff=32", "--sequence-length=16")
    train = ("--max-steps=4", "--warmup-steps=1", "--batch-size=2", "--eval-interval=2")
    quiet = ("--no-tracking", "--no-progress", "--threads=1")
    paths = ("--tokens", str(tokens), "--out", str(out / "model"), "--reports", str(out / "report"))
    command = (sys.executable, *launcher, "-m", "tinyllm.app.cli", "train")
    return subprocess.run(
        [*command, *paths, *shape, *train, *quiet, *flags],
        cwd=out,
        env={**os.environ, "DVC_ROOT": str(out), "PYTHONPATH": str(ROOT), **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_a_process_that_dies_under_torchrun_is_told_of_and_the_restart_gives_the_same_bytes(
    tokens, tmp_path
):
    flags = ("--gradient-accumulation-steps=2", "--max-steps=60", "--checkpoint-interval=0")
    alone, together = tmp_path / "alone", tmp_path / "together"
    alone.mkdir(), together.mkdir()
    assert train_command(tokens, alone, *flags).returncode == 0
    ranks = ("--standalone", "--nproc-per-node=2", "--max-restarts=1")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        launcher = ("-m", "torch.distributed.run", *ranks)
        ending = pool.submit(train_command, tokens, together, *flags, launcher=launcher)
        kill_rank_one_after_ten_steps(together)
        result = ending.result()
    assert result.returncode == 0, result.stderr
    sentence = (
        r"^Error: Process 1 of the 2 that train together, on \S+, has ended; the same command"
    )
    assert len(re.findall(sentence, result.stderr, re.MULTILINE)) == 1
    assert re.search(r"^Resuming at step \d+ of 60", result.stdout + result.stderr, re.MULTILINE)
    for file in (alone / "model").iterdir():
        assert file.read_bytes() == (together / "model" / file.name).read_bytes(), file


def kill_rank_one_after_ten_steps(folder):
    pattern, end = ".tinyllm/training/*/step-0000001*.json", time.monotonic() + 120
    while not list(folder.glob(pattern)):
        assert time.monotonic() < end
        time.sleep(0.02)
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd() == str(folder) and process.environ().get("RANK") == "1":
                process.kill()
                return
    pytest.fail("there is no process of rank 1")


TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}


def test_a_refused_number_of_processes_ends_the_command_before_it_writes(tokens, tmp_path):
    result = train_command(tokens, tmp_path, "--processes=3", env=TORCHRUN)
    assert result.returncode == 2
    assert result.stderr.startswith("Error: torchrun started 2 processes, but")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "model").exists()
