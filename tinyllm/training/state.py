"""The state of a run: everything that the rest of it depends on, kept and restored."""

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from tinyllm.kernels.config import NumericsConfig
from tinyllm.tokens.windows import Place
from tinyllm.training.distributed import Group
from tinyllm.training.loop import Progress, Training
from tinyllm.training.resume import TrainingState, WorkingCheckpoints

if TYPE_CHECKING:
    from tinyllm.training.shards import Shards


class Keeper(Protocol):
    """Keeps states for the next process; all processes of a run call its methods together."""

    def save(self, state: TrainingState) -> None:
        """Keep a state."""

    def load_latest(self) -> TrainingState | None:
        """Return the state that was kept last, if any."""


class CopyKeeper:
    """Keeps the state of processes that all have the same: the one of rank 0 does."""

    def __init__(self, checkpoints: WorkingCheckpoints | None, group: Group) -> None:
        self._checkpoints, self._group = checkpoints if group.rank == 0 else None, group

    def save(self, state: TrainingState) -> None:
        """Write a checkpoint."""
        if self._checkpoints:
            self._checkpoints.save(state)

    def load_latest(self) -> TrainingState | None:
        """Read the newest checkpoint, and give all processes the state."""
        found = self._checkpoints.load_latest() if self._checkpoints else None
        tensors = found.tensors if found else {}
        state: TrainingState | None = self._group.from_first(found and replace(found, tensors={}))
        return state and replace(state, tensors=self._group.tensors_from_first(tensors))


def choose_keeper(
    checkpoints: WorkingCheckpoints | None,
    group: Group,
    numerics: NumericsConfig,
    shards: "Shards | None",
) -> Keeper:
    """What keeps the state of a run, where those of the process of rank 0 say, if at all."""
    if not numerics.sharded:
        return CopyKeeper(checkpoints, group)
    # also for one process, which may be the next one to resume the run
    from tinyllm.training.sharded_checkpoints import ShardedCheckpoints  # noqa: PLC0415 - slow to import

    return ShardedCheckpoints(checkpoints, group, shards)


def capture(training: Training) -> TrainingState:
    """The state of a run after a step; the tensors may be the run's own."""
    tensors = {f"model.{k}": v for k, v in training.model.state_dict().items()}
    tensors |= {f"best.{k}": v for k, v in training.best_weights.items()}
    tensors |= {f"optimizer.{k}": v for k, v in training.optimizers.state_tensors().items()}
    tensors = {name: tensor.detach() for name, tensor in tensors.items()}
    if training.shards is None:
        tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    return TrainingState(
        step=training.progress.step,
        tensors=tensors,
        facts={
            "progress": asdict(training.progress),
            "place": asdict(training.train_loader.place),
        },
    )


def restore(training: Training, state: TrainingState) -> None:
    """Bring a run that has just been set up to a state that `capture` returned."""
    device = training.arithmetic.device

    def section(name: str) -> dict[str, Tensor]:
        prefix = f"{name}."
        return {k.removeprefix(prefix): v for k, v in state.tensors.items() if k.startswith(prefix)}

    training.model.load_state_dict(section("model"))
    training.best_weights = {name: tensor.to(device) for name, tensor in section("best").items()}
    training.optimizers.load_state_tensors(section("optimizer"))
    training.progress = Progress(**state.facts["progress"])
    training.train_loader.place = Place(**state.facts["place"])
