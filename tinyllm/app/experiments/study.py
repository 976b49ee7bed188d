"""Optuna's study of a sweep, and its states of trials."""

from pathlib import Path
from typing import Any

from filelock import FileLock

from tinyllm.app.experiments.setting import Setting
from tinyllm.app.experiments.trials import experiments_folder
from tinyllm.base.errors import TinyLLMError

# hopeless is the worst quarter at the same step; in the first half of a run, and before this
# many trials have ended, that is mostly luck
_PERCENTILE = 75.0
_JUDGES = 4


def state(name: str) -> Any:
    """A state of a trial, as Optuna calls it."""
    from optuna.trial import TrialState

    return TrialState[name]


def open_study(setting: Setting) -> Any:
    """The study of a sweep, which is created if there is none.

    Raises:
        TinyLLMError: Optuna is missing, another sweep has the name, or the file is damaged.
    """
    try:
        import optuna
    except ImportError:
        raise TinyLLMError("A sweep needs Optuna: pip install 'tinyllm[sweep]'.") from None

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    place = experiments_folder()
    place.mkdir(parents=True, exist_ok=True)
    storage = _open_storage(place / "studies.db")
    steps = setting.params["train"]["max_steps"]
    pruner = optuna.pruners.PercentilePruner(
        _PERCENTILE, n_startup_trials=_JUDGES, n_warmup_steps=steps // 2
    )
    study = optuna.create_study(
        storage=storage, study_name=setting.name, load_if_exists=True, pruner=pruner
    )
    known = study.user_attrs.get("identity")
    if known is None:
        study.set_user_attr("identity", setting.identity)
    elif known != setting.identity:
        raise TinyLLMError(
            f"The sweep {setting.name} was begun with another search space, seed, code or "
            f"parameters; give this one another --name."
        )
    return study


def _open_storage(path: Path) -> Any:
    """The file of all studies, which is created if there is none.

    Raises:
        TinyLLMError: it cannot be read or written.
    """
    import optuna
    from sqlalchemy.exc import DatabaseError

    try:
        # of two that create its tables at the same time, Optuna fails one
        with FileLock(path.with_name(f"{path.name}.lock")):
            return optuna.storages.RDBStorage(f"sqlite:///{path}")
    except DatabaseError as error:
        raise TinyLLMError(
            f"Cannot use {path}, which holds the studies of all sweeps: {error.orig}; move it "
            f"away, and sweeps begin anew, with the experiments that are there."
        ) from None
