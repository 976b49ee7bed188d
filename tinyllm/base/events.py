"""What a stage tells of its work while it works, and who listens.

The core knows no listener. `find_watcher` looks for one module by its name; without it a stage runs
all the same and writes the same bytes. Listeners are told facts and give nothing back.
"""

import contextlib
import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import tinyllm
from tinyllm.base.section import Section

_WATCHER = "tinyllm.app.watch"


@dataclass(frozen=True)
class RunStarted:
    """A stage works for the run that `fingerprint` names.

    `configuration` names what runs have in common that differ by nothing but the seed.
    """

    stage: str
    fingerprint: str
    sections: Mapping[str, Section]
    configuration: str = ""


@dataclass(frozen=True)
class DatasetRead:
    """A split that the stage reads; `fingerprint` is the SHA-256 of its text."""

    split: str
    path: Path
    fingerprint: str
    purpose: str


@dataclass(frozen=True)
class StepTaken:
    """One optimizer step, numbered from 1: mean loss in nats, and what drove it."""

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    tokens: int


@dataclass(frozen=True)
class Validated:
    """The validation split was read; losses in nats per token, `best` if none was lower before."""

    step: int
    train_loss: float
    val_loss: float
    learning_rate: float
    gradient_norm: float
    best: bool


@dataclass(frozen=True)
class Measured:
    """Figures of the model of a step that are not a curve."""

    step: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class FileWritten:
    """A report that the stage wrote."""

    path: Path


@dataclass(frozen=True)
class CheckpointWritten:
    """The trained model: its folder, the SHA-256 of its weights, its loss."""

    folder: Path
    sha256: str
    step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class ExportWritten:
    """A form of the model that a registry takes.

    Attributes:
        folder: the model.
        sha256: of the weights that it was made from.
        step: the optimizer step of those weights.
        test: what the evaluate stage measured.
        tags: what is known of data, figures and verdicts, in words.
        card: the model card, Markdown.
    """

    folder: Path
    sha256: str
    step: int
    test: Mapping[str, Any]
    tags: Mapping[str, str]
    card: str


Event = (
    RunStarted
    | DatasetRead
    | StepTaken
    | Validated
    | Measured
    | FileWritten
    | CheckpointWritten
    | ExportWritten
)
Tell = Callable[[Event], None]
# opened for a run, it gives what the run's events are told to
Watch = Callable[[RunStarted], contextlib.AbstractContextManager[Tell]]


class Watcher(Protocol):
    """What the module of the listener offers."""

    SECTIONS: Sequence[type[Section]]
    """Sections of params.yaml that only the listener reads."""

    def prepare_process(self) -> None:
        """Set up logging; called before a command does anything."""

    def without_secrets(self, text: str) -> str:
        """What may be shown of a message."""

    def check_params(self, path: Path) -> None:
        """Check the parameters of all stages, so that none fails hours later for a typo."""

    def watch(
        self, sections: Sequence[Section], started: RunStarted
    ) -> contextlib.AbstractContextManager[Tell]:
        """Listen to a run from its start to its end, however it ends."""


def ignore(_event: Event) -> None:
    """Listen to nothing."""


@functools.cache
def find_watcher() -> Watcher | None:
    """The listener's module, None where it is not installed."""
    # beside this very package: the import system may know another copy, installed elsewhere
    beside = Path(tinyllm.__file__).parent.joinpath(*_WATCHER.split(".")[1:])
    return cast("Watcher", importlib.import_module(_WATCHER)) if beside.is_dir() else None


@contextlib.contextmanager
def unwatched(_started: RunStarted) -> Any:
    """A `Watch` that nobody listens to."""
    yield ignore
