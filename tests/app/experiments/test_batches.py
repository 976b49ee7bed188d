"""Points are drawn in batches: they depend on the size of the batch, and on nothing else."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import sqlalchemy

from tinyllm.app.config import TrackingConfig
from tinyllm.app.experiments.experiment import Outcome
from tinyllm.app.experiments.follow import Judge
from tinyllm.app.experiments.setting import Setting
from tinyllm.app.experiments.space import parse_space
from tinyllm.app.experiments.sweep import Sweep, TrialFacts
from tinyllm.app.params import SECTIONS
from tinyllm.app.tracking.parent import ParentRun
from tinyllm.base.errors import TinyLLMError

pytestmark = pytest.mark.medium
WEEKLY = [pytest.mark.slow, pytest.mark.exhaustive]

SPACE = ["train.learning_rate=log(0.001,1)", "model.num_layers=uniform(1,8)"]
STEPS = 100
TRIALS = 8


class Formula:
    """Runs points by a formula in place of a pipeline; is interrupted before some outcomes."""

    def __init__(self, workers: int, interrupted_at: int = -1, *, fails: bool = False) -> None:
        self.workers, self._left, self._fails = workers, interrupted_at, fails
        self.sizes: list[int] = []

    def run(
        self,
        points: Mapping[str, Mapping[str, Any]],
        tell: Callable[[Outcome], object],
        judge: Judge | None = None,
    ) -> list[Outcome]:
        self.sizes.append(len(points))
        found = []
        for name, point in points.items():
            if self._left == 0:
                raise KeyboardInterrupt
            self._left -= 1
            found.append(self._outcome(name, point, judge))
            tell(found[-1])
        return found

    def _outcome(self, name: str, point: Mapping[str, Any], judge: Judge | None) -> Outcome:
        if self._fails:
            return Outcome(name, "failed", reason="it does not work")
        loss = 2 + abs(math.log10(point["train.learning_rate"]) + 2) + point["model.num_layers"] / 9
        losses = tuple((step, loss) for step in range(25, STEPS + 1, 25))
        verdict = judge.verdict(losses) if judge else None
        if verdict is not None:
            return Outcome(name, "stopped", losses=losses[:verdict])
        bits = loss / math.log(2)
        val, test = {"val_bits_per_character": bits}, {"bits_per_character": bits}
        return Outcome(name, "finished", val, test, losses)


class KilledWhileTelling(Sweep):
    """A sweep that is killed when Optuna is told of the trial `victim`."""

    victim = -1

    def _tell(self, number: int, facts: TrialFacts) -> None:
        if number == self.victim:
            raise KeyboardInterrupt
        super()._tell(number, facts)


@pytest.fixture
def without_sync():
    """SQLite leaves it to the system when to write: no power cut is tested here."""

    def leave_it(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA synchronous=OFF")

    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", leave_it)
    yield
    sqlalchemy.event.remove(sqlalchemy.Engine, "connect", leave_it)


@pytest.fixture
def make(tmp_path, monkeypatch, without_sync) -> Callable[..., Sweep]:
    """Open a sweep as every start of the command does; one of the same name goes on."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    params = {name: section().model_dump() for name, section in SECTIONS.items()}
    params["train"]["max_steps"] = STEPS
    tracking = TrackingConfig(tracking=False)

    def opened(name: str, of: type[Sweep] = Sweep) -> Sweep:
        setting = Setting(name, "0" * 32, params, [], tracking)
        parent = ParentRun(name, "0" * 32, tracking)
        return of(setting, parse_space(SPACE), TRIALS, 3, parent)

    return opened


def points(sweep: Sweep) -> list[tuple[str, Any, str]]:
    """What was run, in order, without the sweep's own name."""
    found = {int(facts.name.rpartition("-")[2]): facts for facts in sweep.facts()}
    return [(str(found[n].params), found[n].val, found[n].state) for n in sorted(found)]


def run(sweep: Sweep, workers: int) -> list[tuple[str, Any, str]]:
    sweep.run(Formula(workers))
    return points(sweep)


def test_a_batch_is_as_large_as_many_run_at_a_time(make):
    runner = Formula(3)
    make("three").run(runner)
    assert runner.sizes == [3, 3, 2]


def test_another_size_draws_other_points(make):
    found = run(make("one"), 1)
    assert len(found) == TRIALS
    assert len({point for point, _, _ in found}) == TRIALS
    assert {state for _, _, state in found} == {"finished", "stopped"}
    four = run(make("four"), 4)
    # at random at first, then by what is known
    assert [point for point, _, _ in four][:5] == [point for point, _, _ in found][:5]
    assert four != found


@pytest.mark.parametrize(("workers", "left"), [pytest.param(1, 6, marks=WEEKLY), (4, 5)])
def test_an_interruption_changes_no_point(make, workers, left):
    with pytest.raises(KeyboardInterrupt):
        make("interrupted").run(Formula(workers, left))
    assert run(make("interrupted"), workers) == run(make("whole"), workers)


def test_a_kill_between_two_records_changes_no_point(make):
    killed = make("killed", KilledWhileTelling)
    # in the middle of the second batch
    killed.victim = 5
    with pytest.raises(KeyboardInterrupt):
        killed.run(Formula(4))
    assert run(make("killed"), 4) == run(make("whole"), 4)


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("workers", [1, 4])
def test_no_interruption_and_no_kill_changes_a_point(make, workers):
    expected = run(make("whole"), workers)
    for left in range(TRIALS):
        with pytest.raises(KeyboardInterrupt):
            make(f"interrupted-{left}").run(Formula(workers, left))
        assert run(make(f"interrupted-{left}"), workers) == expected
        killed = make(f"killed-{left}", KilledWhileTelling)
        killed.victim = left
        with pytest.raises(KeyboardInterrupt):
            killed.run(Formula(workers))
        assert run(make(f"killed-{left}"), workers) == expected


def test_failures_in_a_row_end_the_sweep(make):
    sweep = make("failing")
    with pytest.raises(TinyLLMError, match="3 experiments of failing failed in a row: it does"):
        sweep.run(Formula(4, fails=True))
    assert sweep.facts() == []
    assert len(run(make("failing"), 4)) == TRIALS
