"""A search for good parameters: Optuna draws points, DVC runs them, hopeless ones are stopped.

The study is kept in SQLite under .tinyllm, so that a killed sweep resumes: an experiment that was
running is ended and run again, from its last working checkpoint.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tinyllm.app.experiments.experiment import Outcome, experiments_folder, run_experiment
from tinyllm.app.experiments.setting import Setting
from tinyllm.app.experiments.space import Axis, check_point
from tinyllm.app.tracking.parent import ParentRun
from tinyllm.base.errors import ConfigError, TinyLLMError

_DRAWS = 200
_FAILURES = 3
# hopeless is the worst quarter at the same step; in the first half of a run, and before this
# many trials have ended, that is mostly luck
_PERCENTILE = 75.0
_JUDGES = 4
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
        self._study = _open_study(self.setting)
        known = self._study.user_attrs.get("identity")
        if known is None:
            self._study.set_user_attr("identity", self.setting.identity)
        elif known != self.setting.identity:
            raise TinyLLMError(
                f"The sweep {self.setting.name} was begun with another search space, seed, code "
                f"or parameters; give this one another --name."
            )

    def run(self) -> None:
        """Run trials until there are as many as requested.

        Raises:
            TinyLLMError: several experiments in a row failed, other than by diverging.
            KeyboardInterrupt: the running one has been stopped; the next `run` resumes it.
        """
        self._resume_abandoned()
        failures = 0
        while len(self.facts()) < self.trials:
            trial, point, name = self._draw()
            outcome = self._run_trial(trial, point, name)
            if outcome.state != "failed":
                failures = 0
                self._conclude(trial, point, outcome)
                continue
            failures += 1
            self._study.tell(trial, state=_state("FAIL"))
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

    def _draw(self) -> tuple[Any, dict[str, Any], str]:
        """The next point that the config classes accept, and the experiment's name."""
        problem = ""
        for _ in range(_DRAWS):
            self._study.sampler = self._sampler()
            trial = self._study.ask()
            point = {axis.key: axis.draw(trial) for axis in self.axes}
            try:
                check_point(self.setting.params, point)
            except ConfigError as error:
                problem = str(error)
                self._study.tell(trial, state=_state("FAIL"))
                continue
            name = trial.user_attrs.get("name") or self._next_name()
            trial.set_user_attr("name", name)
            return trial, point, name
        raise TinyLLMError(f"Hardly any point of the search space is possible: {problem}")

    def _sampler(self) -> Any:
        """TPE, seeded by the number of points drawn, so that a kill does not change the draws."""
        import optuna

        drawn = {str(sorted(t.params.items())) for t in self._study.get_trials(deepcopy=False)}
        return optuna.samplers.TPESampler(
            seed=(self.seed * 1_000_003 + len(drawn)) % 2**32,
            n_startup_trials=min(10, max(_RANDOM, self.trials // 3)),
        )

    def _next_name(self) -> str:
        """Numbered by the points that were run; Optuna also counts those that were resumed."""
        trials = self._study.get_trials(deepcopy=False)
        names = {trial.user_attrs["name"] for trial in trials if "name" in trial.user_attrs}
        return f"{self.setting.name}-{len(names)}"

    def _run_trial(self, trial: Any, point: dict[str, Any], name: str) -> Outcome:
        def watch(step: int, loss: float) -> bool:
            trial.report(loss / math.log(2), step)
            return self.prune and bool(trial.should_prune())

        return run_experiment(
            name,
            point,
            overrides=self.setting.overrides,
            environment=self.parent.environment(),
            watch=watch,
            log=experiments_folder() / self.setting.name / f"{name}.log",
        )

    def _conclude(self, trial: Any, point: dict[str, Any], outcome: Outcome) -> None:
        facts = TrialFacts(
            name=outcome.name,
            state=outcome.state,
            params=point,
            val=outcome.train.get("val_bits_per_character"),
            test=outcome.test.get("bits_per_character"),
            reason=outcome.reason if outcome.state == "diverged" else "",
        )
        # first the sweep's own record: _resume_abandoned repairs a kill in between
        trial.set_user_attr("facts", facts.to_dict())
        self._tell(trial.number, facts)
        tags = {"sweep.trial": str(trial.number), "sweep.state": outcome.state}
        self.parent.adopt(outcome.fingerprint, tags)
        self.report(facts)

    def _tell(self, number: int, facts: TrialFacts) -> None:
        if facts.val is not None:
            self._study.tell(number, facts.val)
        else:
            # also if it diverged: Optuna treats it as the worst, and avoids it
            self._study.tell(number, state=_state("PRUNED"))

    def _resume_abandoned(self) -> None:
        """Queue what was running when the sweep was killed."""
        for trial in self._study.get_trials(deepcopy=False, states=[_state("RUNNING")]):
            if "facts" in trial.user_attrs:
                self._tell(trial.number, TrialFacts(**trial.user_attrs["facts"]))
                continue
            self._study.tell(trial.number, state=_state("FAIL"))
            name = trial.user_attrs.get("name")
            self._study.enqueue_trial(trial.params, user_attrs={"name": name} if name else None)


def _state(name: str) -> Any:
    from optuna.trial import TrialState

    return TrialState[name]


def _open_study(setting: Setting) -> Any:
    try:
        import optuna
    except ImportError:
        raise TinyLLMError("A sweep needs Optuna: pip install 'tinyllm[sweep]'.") from None

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    place = experiments_folder()
    place.mkdir(parents=True, exist_ok=True)
    storage = optuna.storages.RDBStorage(f"sqlite:///{place / 'studies.db'}")
    steps = setting.params["train"]["max_steps"]
    pruner = optuna.pruners.PercentilePruner(
        _PERCENTILE, n_startup_trials=_JUDGES, n_warmup_steps=steps // 2
    )
    return optuna.create_study(
        storage=storage, study_name=setting.name, load_if_exists=True, pruner=pruner
    )
