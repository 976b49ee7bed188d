"""What torchrun tells the processes that it starts, on one machine or several."""

import os

from tinyllm.base.errors import ConfigError
from tinyllm.kernels.config import NumericsConfig


def started_by_torchrun() -> bool:
    """Whether torchrun started this process, and the others."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def rank_of_this_process() -> int:
    """The rank that torchrun gave this process; 0 without torchrun."""
    return int(os.environ["RANK"]) if started_by_torchrun() else 0


def place_on_machine(rank: int) -> int:
    """The rank among the processes of this machine."""
    return int(os.environ["LOCAL_RANK"]) if started_by_torchrun() else rank


def processes_here(numerics: NumericsConfig) -> int:
    """The number of processes of the run on this machine."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if started_by_torchrun() else numerics.processes


def is_restart() -> bool:
    """Whether torchrun started this process because an earlier one failed."""
    return started_by_torchrun() and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"


def as_launched(numerics: NumericsConfig) -> NumericsConfig:
    """The config with the number of processes that torchrun started, if it did.

    Raises:
        ConfigError: the config names another number.
    """
    if not started_by_torchrun():
        return numerics
    size = int(os.environ["WORLD_SIZE"])
    if numerics.processes not in (1, size):
        raise ConfigError(
            f"torchrun started {size} processes, but numerics.processes is {numerics.processes}; "
            f"leave it at 1, and torchrun decides."
        )
    return numerics.model_copy(update={"processes": size})
