"""A search for good parameters: Optuna draws points, DVC runs them, hopeless ones are stopped.

Points are drawn in batches of as many as run at a time, and Optuna learns of a batch when all of it
has ended. So the points depend on the size of the batch, and on nothing that happens while it runs.

The study is kept in SQLite under .tinyllm, so that a killed sweep resumes: experiments that were
running run again, from their last working checkpoints.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tinyllm.app.experiments.experiment import Outcome
from tinyllm.app.experiments.follow import Judge, bits
from tinyllm.app.experiments.setting import Setting
from tinyllm.app.experiments.space import Axis, check_point
from tinyllm.app.experiments.study import open_study, state
from tinyllm.app.experiments.trials import Trials
from tinyllm.app.tracking.parent import ParentRun
from tinyllm.base.errors import ConfigError, TinyLLMError

_DRAWS = 200
_FAILURES = 3
# random points before those near the good ones
_RANDOM = 5


@dataclass(frozen=True)
class TrialFacts:
    """One point and its result in bits per character, None if it was stopped."""

    name: str
    state: str
    params: dict[str, Any]
    val: float | None = None
    test: float | None = None
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The trial as plain values."""
        return asdict(self)


@dataclass
class _Draw:
    """A point that was drawn: Optuna's trial, and the name of its experiment."""

    trial: Any
    point: dict[str, Any]
    name: str


@dataclass
class Sweep:
    """A study, and how its points are run."""

    setting: Setting
    axes: Sequence[Axis]
    trials: int
    seed: int
    parent: ParentRun
    prune: bool = True
    report: Callable[[TrialFacts], None] = lambda _facts: None

    def __post_init__(self) -> None:
        """Open the study, or create it.

        Raises:
            TinyLLMError: Optuna is missing, or another sweep has the name.
        """
        self._study = open_study(self.setting)

    def run(self, runner: Trials) -> None:
        """Run trials until there are as many as requested.

        Raises:
            TinyLLMError: several experiments in a row failed, other than by diverging.
            KeyboardInterrupt: the running ones have been stopped; the next `run` resumes them.
        """
        self._resume_abandoned()
        failures = 0
        while (missing := self.trials - len(self.facts())) > 0:
            batch = self._draw_batch(min(runner.workers, missing))
            points = {draw.name: draw.point for draw in batch}
            announce = functools.partial(self._announce, {draw.name: draw for draw in batch})
            outcomes = runner.run(points, announce, self._judge() if self.prune else None)
            self._conclude(batch, outcomes)
            for outcome in outcomes:
                failures = failures + 1 if outcome.state == "failed" else 0
                if failures >= _FAILURES:
                    raise TinyLLMError(
                        f"{failures} experiments of {self.setting.name} failed in a row: "
                        f"{outcome.reason}"
                    )

    def facts(self) -> list[TrialFacts]:
        """All trials that have ended, the best first, those without a result last."""
        found = [
            TrialFacts(**trial.user_attrs["facts"])
            for trial in self._study.get_trials(deepcopy=False)
            if "facts" in trial.user_attrs
        ]
        return sorted(found, key=lambda facts: math.inf if facts.val is None else facts.val)

    def _draw_batch(self, size: int) -> list[_Draw]:
        """The next points; first those that a kill left, with the rest of their batch."""
        waiting = self._study.get_trials(deepcopy=False, states=[state("WAITING")])
        batch = waiting[0].user_attrs.get("batch") if waiting else None
        if batch in {attrs.get("batch") for attrs in self._attributes() if "facts" in attrs}:
            # the others have been told of
            size = sum(trial.user_attrs.get("batch") == batch for trial in waiting)
        draws: list[_Draw] = []
        while len(draws) < size:
            draw = self._draw()
            draw.trial.set_user_attr("batch", batch or (draws[0] if draws else draw).name)
            draws.append(draw)
        return draws

    def _draw(self) -> _Draw:
        """The next point that the config classes accept."""
        problem = ""
        for _ in range(_DRAWS):
            self._study.sampler = self._sampler()
            trial = self._study.ask()
            point = {axis.key: axis.draw(trial) for axis in self.axes}
            try:
                check_point(self.setting.params, point)
            except ConfigError as error:
                problem = str(error)
                self._study.tell(trial, state=state("FAIL"))
                continue
            name = trial.user_attrs.get("name") or self._next_name()
            trial.set_user_attr("name", name)
            return _Draw(trial, point, name)
        raise TinyLLMError(f"Hardly any point of the search space is possible: {problem}")

    def _sampler(self) -> Any:
        """TPE, seeded by the number of points drawn, so that a kill does not change the draws."""
        import optuna

        drawn = {str(sorted(t.params.items())) for t in self._study.get_trials(deepcopy=False)}
        return optuna.samplers.TPESampler(
            seed=(self.seed * 1_000_003 + len(drawn)) % 2**32,
            n_startup_trials=min(10, max(_RANDOM, self.trials // 3)),
            # the points of a batch keep away from each other
            constant_liar=True,
        )

    def _attributes(self) -> list[dict[str, Any]]:
        return [trial.user_attrs for trial in self._study.get_trials(deepcopy=False)]

    def _next_name(self) -> str:
        """Numbered by the points that were run; Optuna also counts those that were resumed."""
        names = {attrs["name"] for attrs in self._attributes() if "name" in attrs}
        return f"{self.setting.name}-{len(names)}"

    def _judge(self) -> Judge:
        """A judge by what has ended by now."""
        ended = self._study.get_trials(states=[state("COMPLETE")])
        return Judge(self._study.pruner, ended, self.setting.params["train"]["max_steps"])

    def _announce(self, draws: Mapping[str, _Draw], outcome: Outcome) -> None:
        """Say in MLflow and here how a trial ended; nothing depends on it."""
        draw = draws[outcome.name]
        tags = {"sweep.trial": str(draw.trial.number), "sweep.state": outcome.state}
        self.parent.adopt(outcome.fingerprint, tags)
        if outcome.state != "failed":
            self.report(_facts(draw, outcome))

    def _conclude(self, batch: Sequence[_Draw], outcomes: Sequence[Outcome]) -> None:
        """Let Optuna know of a whole batch."""
        ended = [*zip(batch, outcomes, strict=True)]
        # first the sweep's own record: _resume_abandoned repairs a kill in between
        for draw, outcome in ended:
            if outcome.state != "failed":
                for step, loss in outcome.losses:
                    draw.trial.report(bits(loss), step)
                draw.trial.set_user_attr("facts", _facts(draw, outcome).to_dict())
        for draw, outcome in ended:
            if outcome.state == "failed":
                self._study.tell(draw.trial, state=state("FAIL"))
            else:
                self._tell(draw.trial.number, _facts(draw, outcome))

    def _tell(self, number: int, facts: TrialFacts) -> None:
        if facts.val is not None:
            self._study.tell(number, facts.val)
        else:
            # also if it diverged: Optuna treats it as the worst, and avoids it
            self._study.tell(number, state=state("PRUNED"))

    def _resume_abandoned(self) -> None:
        """Queue what was running when the sweep was killed."""
        for trial in self._study.get_trials(deepcopy=False, states=[state("RUNNING")]):
            if "facts" in trial.user_attrs:
                self._tell(trial.number, TrialFacts(**trial.user_attrs["facts"]))
                continue
            self._study.tell(trial.number, state=state("FAIL"))
            attrs = trial.user_attrs
            known = {key: attrs[key] for key in ("name", "batch") if key in attrs}
            self._study.enqueue_trial(trial.params, user_attrs=known)


def _facts(draw: _Draw, outcome: Outcome) -> TrialFacts:
    return TrialFacts(
        name=outcome.name,
        state=outcome.state,
        params=draw.point,
        val=outcome.train.get("val_bits_per_character"),
        test=outcome.test.get("bits_per_character"),
        reason=outcome.reason if outcome.state == "diverged" else "",
    )
