"""What is shown and recorded of a run while it goes on."""

import itertools
import logging
import math
from pathlib import Path

import pytest

from tinyllm.app import watch
from tinyllm.app.config import DisplayConfig, TrackingConfig
from tinyllm.app.tracking.store import connect
from tinyllm.app.watch.display import TrainingDisplay, duration
from tinyllm.base.events import DatasetRead, FileWritten, Measured, RunStarted, StepTaken, Validated
from tinyllm.training.config import TrainingConfig

pytestmark = pytest.mark.medium

FINGERPRINT = "ab" * 16
TRAINING = TrainingConfig(max_steps=25, warmup_steps=0)
STARTED = RunStarted("train", FINGERPRINT, {"train": TRAINING})
SILENT = DisplayConfig(progress=False)


class Curves:
    """Takes the place of the tracker."""

    def __init__(self):
        self.points = []

    def metrics(self, step, values):
        self.points.append((step, dict(values)))


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """Two seconds pass between any two looks at the clock."""
    ticks = itertools.count(0, 2)
    monkeypatch.setattr("tinyllm.app.watch.display.time.monotonic", lambda: float(next(ticks)))


@pytest.fixture
def messages(caplog, monkeypatch):
    """What is logged."""
    logger = logging.getLogger("tinyllm.app.watch.display")
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handlers", [caplog.handler])
    monkeypatch.setattr(logger, "level", logging.INFO)
    return caplog


def step(number, loss=2.0):
    return StepTaken(number, loss, learning_rate=0.5, gradient_norm=1.5, tokens=100)


def validated(number, loss, *, best):
    return Validated(number, 2.0, loss, 0.5, 1.5, best)


def shown(events, config=SILENT):
    """The points of the curves that follow from events."""
    curves = Curves()
    with TrainingDisplay(STARTED, config, curves) as display:
        for event in events:
            display.tell(event)
    return curves.points


def test_curves_have_a_point_at_every_interval_and_at_the_last_step():
    points = shown([step(n, 1 / n) for n in range(1, 26)])
    assert [number for number, _ in points] == [10, 20, 25]
    speeds = [values.pop("characters_per_second") for _, values in points]
    assert points[1] == (
        20,
        {
            "train_loss": 1 / 20,
            "train_bits": 1 / 20 / math.log(2),
            "learning_rate": 0.5,
            "gradient_norm": 1.5,
            "characters_seen": 2000.0,
        },
    )
    # two seconds from point to point; the first step, which warms up, counts for none
    assert speeds == [9 * 100 / 2, 10 * 100 / 2, 5 * 100 / 2]


def test_figures_are_per_character_whatever_a_token_is(messages):
    read = [
        DatasetRead(split, Path("x"), "0" * 64, "training", ratio)
        for split, ratio in (("train", 0.25), ("val", 0.5))
    ]
    steps = [step(n, math.log(2)) for n in range(1, 11)]
    points = shown([*read, *steps, validated(10, math.log(2), best=True)])
    (_, of_step), (_, of_validation) = points
    assert of_step["train_bits"] == 0.25
    assert of_step["characters_seen"] == 10 * 100 / 0.25
    assert of_step["characters_per_second"] == 9 * 100 / 2 / 0.25
    assert of_validation == {"val_loss": math.log(2), "val_bits": 0.5}
    assert messages.messages == ["step 10: 0.5000 bits per character on val, the best so far"]


def test_a_run_that_resumes_is_shown_from_where_it_was(capsys):
    points = shown([step(n) for n in range(21, 26)], DisplayConfig(log_interval=5))
    assert [number for number, _ in points] == [25]
    assert "25/25" in capsys.readouterr().err


def test_without_a_bar_nothing_is_drawn(capsys):
    shown([step(n) for n in range(1, 26)])
    captured = capsys.readouterr()
    assert captured.err + captured.out == ""


def test_a_validation_is_a_point_and_a_line(messages):
    two, one = 2 * math.log(2), math.log(2)
    events = [step(1), validated(1, one, best=True), step(2), validated(2, two, best=False)]
    assert shown(events) == [
        (1, {"val_loss": one, "val_bits": 1.0}),
        (2, {"val_loss": two, "val_bits": 2.0}),
    ]
    assert messages.messages == [
        "step 1: 1.0000 bits per character on val, the best so far",
        "step 2: 2.0000 bits per character on val",
    ]


def test_a_long_run_says_once_how_long_it_takes(messages):
    started = RunStarted("train", FINGERPRINT, {"train": TrainingConfig(max_steps=2000)})
    with TrainingDisplay(started, SILENT, Curves()) as display:
        for number in range(1, 31):
            display.tell(step(number))
    # 450 characters a second, 100 a step
    assert messages.messages == ["1990 more steps take about 7 minutes"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(21, "about 30 seconds"), (100, "about 2 minutes"), (9000, "about 2.5 hours")],
)
def test_a_duration_is_told_in_the_unit_that_people_would_choose(seconds, words):
    assert duration(seconds) == words


def test_the_bar_and_the_log_have_one_unit(capsys):
    shown([step(n, 2 * math.log(2)) for n in range(1, 26)], DisplayConfig())
    assert "2.000 bits per character" in capsys.readouterr().err


def test_what_is_not_for_the_screen_leaves_it_alone(tmp_path, capsys):
    assert shown([Measured(1, {"a": 1.0}), FileWritten(tmp_path), STARTED]) == []
    assert capsys.readouterr().err == ""


def test_a_stage_that_trains_is_shown_logged_and_recorded(workspace, same_process):
    (workspace / "history.csv").write_text("step,loss\n")
    with watch.watch([SILENT, TrackingConfig()], STARTED) as tell:
        for number in range(1, 26):
            tell(step(number))
        tell(validated(25, math.log(2), best=True))
        tell(FileWritten(workspace / "history.csv"))
    client = connect()
    (run,) = client.search_runs([client.get_experiment_by_name("tinyllm").experiment_id])
    assert run.info.status == "FINISHED"
    history = client.get_metric_history(run.info.run_id, "train_loss")
    assert [point.step for point in history] == [10, 20, 25]
    assert run.data.metrics["val_loss"] == math.log(2)
    assert [file.path for file in client.list_artifacts(run.info.run_id, "train")] == [
        "train/history.csv"
    ]
    log = (workspace / ".tinyllm/logs/train.log").read_text(encoding="utf-8")
    assert "step 25: 1.0000 bits per character on val, the best so far" in log


def test_a_stage_that_does_not_train_is_recorded_only(workspace, same_process, capsys):
    started = RunStarted("evaluate", FINGERPRINT, {})
    with watch.watch([DisplayConfig(), TrackingConfig()], started) as tell:
        tell(Measured(25, {"test_loss": 0.75}))
    client = connect()
    (run,) = client.search_runs([client.get_experiment_by_name("tinyllm").experiment_id])
    assert run.data.metrics == {"test_loss": 0.75}
    assert capsys.readouterr().err == ""
    assert not (workspace / ".tinyllm/logs").exists()
