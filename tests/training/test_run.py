"""Whole runs: reproducible to the bit, however they are watched, stopped and resumed."""

import contextlib
import functools
import math
import os
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save

from tinyllm.base.errors import Interrupted, TinyLLMError
from tinyllm.base.events import StepTaken
from tinyllm.kernels import contention
from tinyllm.kernels.fused import build_model
from tinyllm.model.config import ModelConfig
from tinyllm.tokens.loaders import EvaluationLoader
from tinyllm.tokens.windows import OptimizedTextDataset, TokenData
from tinyllm.training.config import TrainingConfig
from tinyllm.training.recipe import Recipe
from tinyllm.training.resume import Resume, WorkingCheckpoints
from tinyllm.training.run import run_training
from tinyllm.training.validation import evaluate

VOCAB, STEPS, NEVER = 9, 12, 1e9
SHAPE = ModelConfig(d_model=16, num_heads=2, num_layers=1, d_ff=24, sequence_length=8, dropout=0.1)
PATTERN = np.resize(np.array([1, 5, 2, 7, 3, 8, 4, 6], dtype=np.uint8), 400)
NOISE = np.random.default_rng(0).integers(1, VOCAB, 400).astype(np.uint8)
both = pytest.mark.parametrize("optimizer", ["muon", "adamw"])


@pytest.fixture
def train(arithmetic):
    def run(train_tokens=PATTERN, val_tokens=PATTERN[:73], how=None, **settings):
        config = TrainingConfig(
            **(
                {"max_steps": STEPS, "batch_size": 4, "warmup_steps": 2, "eval_interval": 5}
                | {"learning_rate": 0.02, "embedding_learning_rate": 0.01}
                | {"gradient_accumulation_steps": 2}
                | settings
            )
        )
        data = TokenData(train_tokens, val_tokens, VOCAB)
        return run_training(data, Recipe(SHAPE, config), arithmetic, **(how or {}))

    return run


@pytest.fixture
def undisturbed(train):
    return functools.cache(lambda optimizer: train(optimizer=optimizer))


@pytest.fixture
def checkpoints(tmp_path):
    return WorkingCheckpoints(tmp_path / "training")


class Stopper:
    """Asks to stop, as SIGTERM does, after each of the given steps."""

    def __init__(self, *steps):
        self.steps, self.seen = steps, []

    def tell(self, event):
        if isinstance(event, StepTaken):
            self.seen.append(event.step)

    def stop(self):
        return 15 if self.seen and self.seen[-1] in self.steps else 0

    def keep_in(self, checkpoints, interval=NEVER):
        """Arguments for a run."""
        return {"tell": self.tell, "resume": Resume(checkpoints, interval, self.stop)}


def kept_in(checkpoints, interval=NEVER):
    return {"resume": Resume(checkpoints, interval)}


def stopped(train, checkpoints, step, **settings):
    """Train until `step`, return the steps taken."""
    stopper = Stopper(step)
    with pytest.raises(Interrupted) as caught:
        train(how=stopper.keep_in(checkpoints), **settings)
    assert caught.value.exit_code == 143
    assert f"at step {step};" in str(caught.value)
    return stopper.seen


def assert_same(result, expected):
    assert save(result.weights) == save(expected.weights)
    assert result.history == expected.history
    assert result.best_step == expected.best_step
    assert result.best_val_loss == expected.best_val_loss
    assert result.num_parameters == expected.num_parameters


def final_weights(checkpoints):
    state = checkpoints.load_latest()
    assert state.step == STEPS
    return save({k: v for k, v in state.tensors.items() if k.startswith("model.")})


@both
def test_a_run_learns(train, optimizer):
    rates = {"learning_rate": 0.05 if optimizer == "muon" else 0.01}
    result = train(optimizer=optimizer, max_steps=50, **rates)
    assert result.best_val_loss < 0.3 * math.log(VOCAB)
    assert result.best_step == 50


@both
def test_two_runs_give_identical_bytes(train, undisturbed, optimizer):
    first = undisturbed(optimizer)
    torch.rand(7)
    assert_same(train(optimizer=optimizer), first)


def test_seed_decides_the_result(train, undisturbed):
    assert save(train(seed=1).weights) != save(undisturbed("muon").weights)


@pytest.mark.parametrize("threads", [2, 4])
def test_threads_change_no_bit(train, threads):
    first = train(max_steps=4)
    torch.set_num_threads(threads)
    assert_same(train(max_steps=4), first)


def test_best_weights_give_the_best_loss(train, arithmetic):
    result = train(NOISE, PATTERN[:73], max_steps=40, eval_interval=4, learning_rate=0.1)
    losses = {row["step"]: row["val_loss"] for row in result.history}
    assert result.best_step == min(losses, key=losses.get) < 40
    assert result.best_val_loss == losses[result.best_step]
    model = build_model(SHAPE, VOCAB, arithmetic)
    model.load_state_dict(result.weights)
    data = OptimizedTextDataset(PATTERN[:73], 8, "val")
    loader = EvaluationLoader(data, 64, arithmetic.device)
    assert evaluate(model, loader, arithmetic) == result.best_val_loss
    assert result.num_parameters == model.num_parameters()


@pytest.mark.parametrize("interval", [1, 3, 12, 100])
def test_validating_changes_no_final_weight(train, tmp_path, interval):
    often, seldom = (WorkingCheckpoints(tmp_path / name) for name in "ab")
    result = train(eval_interval=interval, how=kept_in(often))
    train(eval_interval=5, how=kept_in(seldom))
    assert len(result.history) == math.ceil(STEPS / interval)
    assert final_weights(often) == final_weights(seldom)


def test_saving_changes_no_final_weight(train, undisturbed, tmp_path):
    always, never = (WorkingCheckpoints(tmp_path / name) for name in "ab")
    result = train(how=kept_in(always, 0.0))
    assert_same(result, undisturbed("muon"))
    assert_same(train(how=kept_in(never)), result)
    assert final_weights(always) == final_weights(never)
    saved = [sorted(path.stem for path in c.folder.glob("*.json")) for c in (always, never)]
    assert saved == [["step-00000011", "step-00000012"], ["step-00000012"]]


@both
@pytest.mark.parametrize("step", [1, 4, 5, 7, 11])
def test_a_resumed_run_ends_with_the_same_bytes(train, undisturbed, checkpoints, optimizer, step):
    assert stopped(train, checkpoints, step, optimizer=optimizer) == list(range(1, step + 1))
    torch.rand(7)
    watch = Stopper()
    result = train(optimizer=optimizer, how=watch.keep_in(checkpoints))
    assert watch.seen == list(range(step + 1, STEPS + 1))
    assert_same(result, undisturbed(optimizer))


@both
def test_a_run_stopped_after_every_step_ends_the_same(train, undisturbed, checkpoints, optimizer):
    for step in range(1, STEPS):
        assert stopped(train, checkpoints, step, optimizer=optimizer) == [step]
    result = train(optimizer=optimizer, how=kept_in(checkpoints))
    assert_same(result, undisturbed(optimizer))


def test_a_killed_run_resumes_from_the_last_checkpoint(train, undisturbed, checkpoints):
    class Killer(Stopper):
        def tell(self, event):
            super().tell(event)
            if self.seen[-1] == 8:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(how=Killer().keep_in(checkpoints, 0.0))
    watch = Stopper()
    assert_same(train(how=watch.keep_in(checkpoints, 0.0)), undisturbed("muon"))
    assert watch.seen[0] == 8


def test_damaged_checkpoint_costs_steps_and_changes_nothing(train, undisturbed, checkpoints):
    for step in (4, 7):
        stopped(train, checkpoints, step)
    newest = checkpoints.folder / "step-00000007.safetensors"
    newest.write_bytes(newest.read_bytes()[:-9])
    watch = Stopper()
    result = train(how=watch.keep_in(checkpoints))
    assert watch.seen[0] == 5
    assert_same(result, undisturbed("muon"))


def test_checkpoint_can_be_used_in_another_folder(train, undisturbed, checkpoints, tmp_path):
    stopped(train, checkpoints, 6)
    shutil.move(checkpoints.folder, tmp_path / "moved")
    result = train(how=kept_in(WorkingCheckpoints(tmp_path / "moved")))
    assert_same(result, undisturbed("muon"))


def test_a_finished_run_is_not_repeated(train, undisturbed, checkpoints):
    train(how=kept_in(checkpoints))
    watch = Stopper()
    result = train(how=watch.keep_in(checkpoints))
    assert watch.seen == []
    assert_same(result, undisturbed("muon"))


def test_signal_at_the_last_step_stops_nothing(train, undisturbed, checkpoints):
    result = train(how=Stopper(STEPS).keep_in(checkpoints))
    assert_same(result, undisturbed("muon"))


@pytest.mark.parametrize(("train_length", "val_length", "name"), [(8, 50, "train"), (50, 8, "val")])
def test_too_short_split_is_reported(train, train_length, val_length, name):
    with pytest.raises(TinyLLMError, match=f"The {name} split has 8 characters"):
        train(PATTERN[:train_length], PATTERN[:val_length])


def test_without_a_place_to_resume_from_a_run_keeps_nothing(train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(max_steps=2)
    assert not list(tmp_path.iterdir())


def test_windows_are_all_that_a_run_reads():
    assert TrainingConfig(max_steps=50, batch_size=4, gradient_accumulation_steps=2).windows == 400


@pytest.mark.parametrize("stopped", [False, True])
def test_after_a_run_the_process_may_use_all_cores_again(
    arithmetic, checkpoints, monkeypatch, stopped
):
    monkeypatch.setattr(contention, "usable_cores", lambda: 2)
    # others fill the machine all the time
    monkeypatch.setattr(contention, "_PERIOD", 0.0)
    monkeypatch.setattr(contention, "_seconds_waited", time.monotonic)
    monkeypatch.setattr(contention, "_seconds_idle", lambda _: 0.0)
    watched, before = contention.Contention(2), os.sched_getaffinity(0)
    noticed = []
    resume = Resume(checkpoints, NEVER, lambda: 15 * (len(noticed) > 3)) if stopped else None
    with pytest.raises(Interrupted) if stopped else contextlib.nullcontext():
        run_training(
            TokenData(PATTERN, PATTERN[:73], VOCAB),
            Recipe(SHAPE, TrainingConfig(max_steps=6, batch_size=4, warmup_steps=0)),
            replace(arithmetic, contention=watched),
            tell=lambda _: noticed.append(watched.noticed),
            resume=resume,
        )
    assert noticed[-1]
    assert not watched.noticed
    assert os.sched_getaffinity(0) == before
