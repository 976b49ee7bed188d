"""Several processes train together: the same bytes as one, and the end of one is the end of all."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT, SMALL_MODEL
from tinyllm.base.errors import TinyLLMError
from tinyllm.kernels.config import NumericsConfig
from tinyllm.tokens.tokenizer import CharacterTokenizer
from tinyllm.tokens.windows import load_tokens
from tinyllm.training.config import TrainingConfig
from tinyllm.training.loop import SilentObserver
from tinyllm.training.resume import WorkingCheckpoints
from tinyllm.training.run import run_training
from tinyllm.training.workers import Workers


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def train(tokens, arithmetic):
    vocab_size = CharacterTokenizer.load_state(tokens / "tokenizer.json").vocab_size

    def run(processes, *, parts=2, observe=None, checkpoints=None, others=tokens, **settings):
        settings = {"max_steps": 6, "warmup_steps": 1, "eval_interval": 4} | settings
        config = TrainingConfig(batch_size=2, gradient_accumulation_steps=parts, **settings)
        numerics = NumericsConfig(threads=1, processes=processes)
        workers = Workers(others, vocab_size, SMALL_MODEL, config, numerics, arithmetic)
        with workers as group:
            return run_training(
                load_tokens(tokens, "train"),
                load_tokens(tokens, "val"),
                vocab_size,
                SMALL_MODEL,
                config,
                arithmetic,
                group=group,
                checkpoints=checkpoints,
                checkpoint_interval=0,
                observer=observe(workers) if observe else None,
            )

    return run


def assert_same(one, other):
    assert one.history == other.history
    assert one.weights.keys() == other.weights.keys()
    assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)


class KillsAWorker(SilentObserver):
    """Kills the first of the other processes after three steps."""

    def __init__(self, workers):
        self.workers = workers

    def on_step(self, report):
        if report.step == 3:
            self.killed_at = time.monotonic()
            os.kill(self.workers.process_ids[0], signal.SIGKILL)


def running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(("processes", "parts"), [(2, 2), (2, 4), (3, 3)])
def test_any_number_of_processes_gives_the_same_bytes(train, processes, parts):
    assert SMALL_MODEL.dropout > 0
    assert_same(train(1, parts=parts), train(processes, parts=parts))


def test_a_killed_process_ends_the_training_and_a_rerun_goes_on(train, tmp_path):
    seen = []

    def observe(workers):
        seen.append(KillsAWorker(workers))
        return seen[0]

    checkpoints = WorkingCheckpoints(tmp_path / "work")
    with pytest.raises(TinyLLMError, match=r"Process 1 of the 2 .* ended \(SIGKILL\)"):
        train(2, observe=observe, checkpoints=checkpoints)
    assert time.monotonic() - seen[0].killed_at < 30
    assert checkpoints.load_latest().step == 3
    assert_same(train(2, checkpoints=checkpoints), train(1))


def test_a_process_that_cannot_begin_ends_the_training_at_once(train, tmp_path):
    (tmp_path / "meta.json").write_text("{}", encoding="utf-8")
    with pytest.raises(TinyLLMError, match=r"Process 1 .* ended \(.* describes no split train"):
        train(2, others=tmp_path)


def test_the_other_processes_end_with_this_one(train):
    pids = []

    class Fails(SilentObserver):
        def __init__(self, workers):
            pids.extend(workers.process_ids)

        def on_step(self, report):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train(2, observe=Fails)
    assert len(pids) == 1
    assert not running(pids[0])


SAME_NUMBER = "give both the same number."


def train_command(tokens, out: Path, *flags, launcher=(), env=None):
    """`tinyllm train` in processes of its own, in a working folder of its own."""
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


def test_torchrun_starts_the_processes_too(tokens, tmp_path):
    parts = "--gradient-accumulation-steps=2"
    alone, together = tmp_path / "alone", tmp_path / "together"
    alone.mkdir(), together.mkdir()
    assert train_command(tokens, alone, parts).returncode == 0
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    result = train_command(tokens, together, parts, "--processes=2", launcher=launcher)
    assert result.returncode == 0, result.stderr
    files = [path.relative_to(alone) for path in (alone / "model").iterdir()]
    assert len(files) == 3
    for file in files:
        assert (alone / file).read_bytes() == (together / file).read_bytes(), file


@pytest.mark.parametrize(
    ("flags", "env", "sentence"),
    [
        (
            ("--processes=2", "--gradient-accumulation-steps=3"),
            {},
            (
                "Error: numerics.processes (2) must divide train.gradient_accumulation_steps (3) "
                "without rest."
            ),
        ),
        (
            (),
            {"TORCHELASTIC_RUN_ID": "x", "RANK": "0", "WORLD_SIZE": "2"},
            "Error: torchrun started 2 processes, but numerics.processes is 1; " + SAME_NUMBER,
        ),
    ],
)
def test_processes_that_do_not_fit_are_refused(tokens, tmp_path, flags, env, sentence):
    result = train_command(tokens, tmp_path, *flags, env=env)
    assert (result.returncode, result.stderr.strip()) == (2, sentence)
    assert not (tmp_path / "model").exists()
