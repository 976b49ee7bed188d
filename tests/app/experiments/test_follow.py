"""Which runs are hopeless, and how a run is found and followed."""

import json
import time

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from tinyllm.app.experiments.follow import Follower, Judge, bits

STEPS = (20, 40, 60, 80)


def judge(count: int) -> Judge:
    """A judge by trials whose losses at every step are 1, 2, 3 ..."""
    pruner = optuna.pruners.PercentilePruner(75.0, n_startup_trials=4, n_warmup_steps=40)
    ended = [
        create_trial(
            state=TrialState.COMPLETE,
            value=float(number),
            intermediate_values=dict.fromkeys(STEPS, bits(number)),
        )
        for number in range(1, count + 1)
    ]
    return Judge(pruner, ended, STEPS[-1])


@pytest.mark.parametrize(
    ("losses", "verdict"),
    [
        ((9, 9, 9, 9), 2),
        ((9, 1, 1, 1), None),
        # the last step ends the run anyway
        ((1, 1, 1, 9), None),
        ((1, 1, 9, 9), None),
        ((4.5, 4.5, 4.5, 4.5), 2),
        ((9,), None),
        ((), None),
    ],
)
def test_the_worst_quarter_is_hopeless_after_half_of_the_steps(losses, verdict):
    """Its best loss so far counts, as Optuna has it."""
    assert judge(4).verdict([*zip(STEPS, losses, strict=False)]) == verdict


def test_a_few_trials_are_no_measure():
    assert judge(3).verdict([(step, 9.0) for step in STEPS]) is None


def test_a_verdict_does_not_depend_on_when_it_is_asked():
    losses = [(step, 9.0) for step in STEPS]
    found = [judge(4).verdict(losses[:count]) for count in range(5)]
    assert found == [None, None, 2, 2, 2]


def write(folder, name, *events):
    lines = [json.dumps({"time": 1, **event}) + "\n" for event in events]
    (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")


def run(experiment, stage="train"):
    about = {"experiment": "tinyllm", "name": "x", "params": {}}
    return {"kind": "run", "stage": stage, "tags": {"dvc.experiment": experiment}, **about}


def loss(step, value):
    return {"kind": "metrics", "step": step, "values": {"val_loss": value, "train_loss": 1.0}}


def test_a_follower_reads_the_run_of_its_experiment_once(tmp_path):
    follower = Follower("mine", tmp_path, time.time() - 5)
    assert follower.losses() == []
    write(tmp_path, "a" * 32, run("another"), loss(20, 3.0))
    # a run that another experiment began, and this one resumes
    write(tmp_path, "b" * 32, run("another"), run("mine"), loss(20, 2.123456789))
    assert follower.losses() == [(20, 2.123457)]
    assert follower.losses() == []
    assert follower.fingerprint == "b" * 32


def test_an_old_journal_is_another_run(tmp_path):
    write(tmp_path, "a" * 32, run("mine"), loss(20, 3.0))
    assert Follower("mine", tmp_path, time.time() + 60).losses() == []
