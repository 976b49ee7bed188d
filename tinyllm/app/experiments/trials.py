"""Experiments of one setting, several at a time, on this machine or on a cluster."""

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import Timeout

from tinyllm.app.experiments.copies import take_snapshot
from tinyllm.app.experiments.experiment import Experiment, Outcome, read_outcome, run_experiment
from tinyllm.app.experiments.follow import Judge
from tinyllm.app.experiments.keeper import lock_of
from tinyllm.app.experiments.setting import Setting
from tinyllm.app.experiments.space import override
from tinyllm.app.tracking.background import ELSEWHERE_VARIABLE
from tinyllm.app.tracking.parent import ParentRun
from tinyllm.base.cores import usable_cores
from tinyllm.base.errors import ConfigError, TinyLLMError
from tinyllm.base.files import ROOT_VARIABLE, working_folder
from tinyllm.base.jobs import run_jobs
from tinyllm.base.runtime import RuntimeConfig
from tinyllm.base.work import Needs
from tinyllm.kernels.config import NumericsConfig

# what experiments with the same text share
_SHARED_STAGE = "tokenize"


def experiments_folder() -> Path:
    """The folder of the studies, and of the logs and copies of experiments."""
    return working_folder() / "sweeps"


class Trials:
    """Runs experiments of a setting, `workers` at a time, each on as many cores as params say."""

    def __init__(self, setting: Setting, parent: ParentRun, workers: int) -> None:
        """Look at the machine and at the project, which is copied as it stands now.

        Raises:
            ConfigError: so many would need more cores than this machine has.
            TinyLLMError: git or DVC cannot read the project.
        """
        self.workers = workers
        self._setting, self._parent = setting, parent
        engine = RuntimeConfig.parse(setting.params["runtime"]).engine
        self._runtime = RuntimeConfig(engine=engine, workers=workers)
        self._needs = _needs(NumericsConfig.parse(setting.params["numerics"]))
        # one by one, an experiment may have the machine for itself
        self._alone = workers == 1 and engine == "local"
        if engine == "local" and not self._alone:
            _check_cores(workers, self._needs.cores)
        self._snapshot = take_snapshot()
        self._is_shared = self._alone

    def run(
        self,
        points: Mapping[str, Mapping[str, Any]],
        tell: Callable[[Outcome], object],
        judge: Judge | None = None,
    ) -> list[Outcome]:
        """Run experiments and return how they ended, in the order of the points.

        All stop if one of them, or `tell`, raises an exception, and when a signal arrives.

        Args:
            points: parameters to set, by the experiment's name.
            tell: receives each outcome, in order.
            judge: stops hopeless ones.

        Raises:
            TinyLLMError: a stage that all share fails, or the cluster does.
        """
        experiments = [self._experiment(name, point, judge) for name, point in points.items()]
        try:
            self._share(experiments)
            return run_jobs(
                run_experiment, experiments, self._runtime, tell=tell, needs=self._needs
            )
        except BaseException:
            # workers are dead by now; what they had begun ends by itself
            for experiment in experiments:
                with contextlib.suppress(Timeout), lock_of(experiment.copy):
                    pass
            raise

    def _experiment(
        self, name: str, point: Mapping[str, Any], judge: Judge | None = None
    ) -> Experiment:
        beside_others = {"runtime.engine": "local", "runtime.workers": self._needs.cores}
        own = () if self._alone else tuple(override(key, v) for key, v in beside_others.items())
        environment = {**self._parent.environment(), ROOT_VARIABLE: self._snapshot.root}
        if self._runtime.engine == "ray":
            # a local store is not for several machines, and its password not for theirs
            environment[ELSEWHERE_VARIABLE] = "yes"
        return Experiment(
            name=name,
            point=dict(point),
            snapshot=self._snapshot,
            place=str(experiments_folder() / self._setting.name),
            overrides=(*self._setting.overrides, *own),
            environment=environment,
            judge=judge,
        )

    def _share(self, experiments: list[Experiment]) -> None:
        """Run the stages that do not depend on the point once, and not in each experiment.

        They may use all cores, or the cluster; the experiments find them in DVC's cache.
        """
        if self._is_shared or all(map(read_outcome, experiments)):
            return
        first = experiments[0]
        shared = Experiment(
            name=f"{self._setting.name}-shared",
            point={},
            snapshot=self._snapshot,
            place=first.place,
            overrides=tuple(self._setting.overrides),
            environment=first.environment,
            target=_SHARED_STAGE,
        )
        outcome = run_experiment(shared)
        if outcome.state != "finished":
            raise TinyLLMError(
                f"What all experiments of {self._setting.name} share failed: {outcome.reason}"
            )
        self._is_shared = True


def _needs(numerics: NumericsConfig) -> Needs:
    on_gpu = numerics.mode == "fast" and numerics.device in ("auto", "cuda")
    return Needs(numerics.threads * numerics.processes, numerics.processes if on_gpu else 0)


def _check_cores(workers: int, cores: int) -> None:
    if (needed := workers * cores) > usable_cores():
        each = f"{cores} core{'s' if cores > 1 else ''}"
        raise ConfigError(
            f"{workers} experiments at a time of {each} each need {needed} cores, and this machine "
            f"has {usable_cores()}; lower --workers or numerics.threads."
        )
