"""The events that a stage emits, and the watcher that receives them.

The core imports no watcher. `find_watcher` looks for one by module name; without it a stage runs
all the same and writes the same bytes. A watcher receives events and returns nothing.
"""

import contextlib
import functools
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import tinyllm
from tinyllm.base.section import Section

_WATCHER = "tinyllm.app.watch"


@dataclass(frozen=True)
class RunStarted:
    """A stage starts to work for the run with this `fingerprint`.

    `configuration` is the same for runs that differ only in their seed.
    """

    stage: str
    fingerprint: str
    sections: Mapping[str, Section]
    configuration: str = ""


@dataclass(frozen=True)
class DatasetRead:
    """The stage reads a split; `fingerprint` is the SHA-256 of its text.

    `tokens_per_character` is the mean over the split.
    """

    split: str
    path: Path
    fingerprint: str
    purpose: str
    tokens_per_character: float = 1.0


@dataclass(frozen=True)
class StepTaken:
    """One optimizer step, counted from 1; the mean loss is in nats."""

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    tokens: int


@dataclass(frozen=True)
class Validated:
    """A validation; losses in nats per token, `best` if this is the lowest so far."""

    step: int
    train_loss: float
    val_loss: float
    learning_rate: float
    gradient_norm: float
    best: bool


@dataclass(frozen=True)
class Measured:
    """Measurements of the model of one step."""

    step: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class FileWritten:
    """The stage wrote a report."""

    path: Path


@dataclass(frozen=True)
class CheckpointWritten:
    """The stage wrote the trained model; `sha256` is that of its weights."""

    folder: Path
    sha256: str
    step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class ExportWritten:
    """The stage wrote a model for the registry.

    Attributes:
        folder: of the model.
        sha256: of its weights.
        step: the optimizer step of those weights.
        test: the metrics of the evaluate stage.
        tags: facts about data, metrics and verdicts.
        card: the model card, in Markdown.
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
# opens a run and yields the function that receives its events
Watch = Callable[[RunStarted], contextlib.AbstractContextManager[Tell]]


Advance = Callable[[int], object]


class Watcher(Protocol):
    """The interface of the watcher's module."""

    SECTIONS: Sequence[type[Section]]
    """Sections of params.yaml that only the watcher reads."""

    def prepare_process(self) -> None:
        """Set up logging; called before a command does anything."""

    def without_secrets(self, text: str) -> str:
        """The message with its secrets removed."""

    def check_params(self, path: Path, stage: str) -> None:
        """Check what `stage` and all later ones need, so that none fails hours later."""

    def progress(self, what: str, size: int) -> contextlib.AbstractContextManager[Advance]:
        """Show how far some work is; yields a function that receives the bytes done since."""

    def watch(
        self, sections: Sequence[Section], started: RunStarted
    ) -> contextlib.AbstractContextManager[Tell]:
        """Watch a run from start to end, however it ends."""


def ignore(_event: Event) -> None:
    """Discard an event."""


@functools.cache
def find_watcher() -> Watcher | None:
    """The watcher's module, or None if there is none."""
    # in this package: the import system may find another copy, installed elsewhere
    beside = Path(tinyllm.__file__).parent.joinpath(*_WATCHER.split(".")[1:])
    return cast("Watcher", importlib.import_module(_WATCHER)) if beside.is_dir() else None


@contextlib.contextmanager
def progress(what: str, size: int) -> Iterator[Advance]:
    """Show how far some work is, if there is a watcher.

    Args:
        what: a word or two.
        size: bytes to be read.

    Yields:
        A function that receives the bytes that were read since its last call.
    """
    watcher = find_watcher()
    if watcher is None:
        yield lambda _bytes: None
        return
    with watcher.progress(what, size) as advance:
        yield advance


@contextlib.contextmanager
def unwatched(_started: RunStarted) -> Any:
    """A `Watch` without a watcher."""
    yield ignore
