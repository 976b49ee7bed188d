"""Working checkpoints: what an interrupted run needs to resume as if nothing had happened.

They live outside the stage's outs, in a folder named after the run's fingerprint, so that neither
DVC nor a changed parameter can mix them up. Each is a safetensors file and, written after it, a
JSON file with its SHA-256; `tinyllm.training.sharded_checkpoints` writes a folder instead of the
former. Weights without a JSON file are unfinished and ignored; damaged ones are renamed and
skipped.
"""

import contextlib
import logging
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from filelock import FileLock, Timeout
from pydantic import NonNegativeInt
from safetensors.torch import save
from torch import Tensor

from tinyllm.base.documents import Document, Sha256, read_document
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.files import sha256, write_bytes, write_json
from tinyllm.model.checkpoint import read_tensors

_KEPT = 2
_OURS = re.compile(r"(?:damaged-)?step-\d{8,}\.(?:json|safetensors|shards)")
_SHARD = re.compile(r"__\d+_\d+\.distcp|\.metadata(?:\.tmp)?")
_SUFFIXES = (".json", ".safetensors", ".shards")
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def stop_on_signal() -> Iterator[Callable[[], int]]:
    """Handle SIGINT and SIGTERM: the first stops after the current step, the second at once.

    Yields:
        A function that returns the number of the signal received, or 0.
    """
    asked = 0

    def ask(number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        asked = number

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class TrainingState:
    """Everything that the rest of a run depends on."""

    step: int
    tensors: dict[str, Tensor]
    facts: dict[str, Any]


class _Facts(Document):
    """The JSON file of a working checkpoint."""

    step: NonNegativeInt
    sha256: Sha256
    facts: dict[str, Any]


class WorkingCheckpoints:
    """The working checkpoints of one run; the newest two are kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextlib.contextmanager
    def locked(self, patience: float = 0.0) -> Iterator[None]:
        """Lock the folder for this process, within `patience` seconds.

        Raises:
            TinyLLMError: another process is doing the same run.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / "lock")
            lock.acquire(timeout=patience)
        except Timeout:
            raise TinyLLMError(
                f"Another process is already doing this run (it holds {self.folder}/lock); "
                f"wait for it, or stop it."
            ) from None
        except OSError as error:
            raise TinyLLMError(f"Cannot write {self.folder}: {error.strerror}.") from None
        try:
            yield
        finally:
            lock.release()

    def save(self, state: TrainingState) -> None:
        """Write a checkpoint and delete all but the newest two."""
        self.remove_unfinished()
        stem = stem_of(state.step)
        weights = self.folder / f"{stem}.safetensors"
        write_bytes(weights, save(state.tensors))
        facts = {"step": state.step, "sha256": sha256(weights), "facts": state.facts}
        write_json(self.folder / f"{stem}.json", facts)
        self.keep_newest()

    def load_latest(self) -> TrainingState | None:
        """Read the newest intact checkpoint, or None; damaged ones are renamed and logged."""
        for stem in reversed(self.stems()):
            try:
                return self._load(stem)
            except TinyLLMError as error:
                _log.warning("Skipping the working checkpoint %s: %s", stem, error)
                self.set_aside(stem)
        return None

    def clear(self) -> None:
        """Delete all checkpoints, once the model is written."""
        for path in self.folder.glob("*"):
            if _OURS.fullmatch(path.name):
                _delete(path)

    def remove_unfinished(self) -> None:
        """Delete what earlier attempts left when they were killed, or when the disk was full."""
        finished = set(self.stems())
        for path in self.folder.glob("step-*"):
            if _OURS.fullmatch(path.name) and path.stem not in finished:
                _delete(path)

    def keep_newest(self) -> None:
        """Delete all but the newest two."""
        for old in self.stems()[:-_KEPT]:
            self.remove(old)

    def stems(self) -> list[str]:
        """The names of the finished checkpoints, without a suffix, the oldest first."""
        found = (path for path in self.folder.glob("step-*.json") if path.is_file())
        return sorted(path.stem for path in found if _OURS.fullmatch(path.name))

    def shards_of(self, stem: str) -> Path:
        """The folder that processes write their shares of a checkpoint to."""
        return self.folder / f"{stem}.shards"

    def remove(self, stem: str) -> None:
        """Delete a checkpoint."""
        for suffix in _SUFFIXES:
            _delete(self.folder / f"{stem}{suffix}")

    def set_aside(self, stem: str) -> None:
        """Rename a damaged checkpoint."""
        for suffix in _SUFFIXES:
            path = self.folder / f"{stem}{suffix}"
            if path.exists():
                path.rename(path.with_name(f"damaged-{path.name}"))

    def _load(self, stem: str) -> TrainingState:
        found = read_document(self.folder / f"{stem}.json", _Facts, "it is not used")
        weights = self.folder / f"{stem}.safetensors"
        if sha256(weights) != found.sha256:
            raise TinyLLMError("its checksum does not match")
        return TrainingState(found.step, read_tensors(weights), found.facts)


def stem_of(step: int) -> str:
    """The name of the checkpoint of a step, without a suffix."""
    return f"step-{step:08d}"


def _delete(path: Path) -> None:
    """Delete a file, or a folder of shards, whose other files stay."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    for file in path.iterdir():
        if _SHARD.fullmatch(file.name):
            file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        path.rmdir()


@dataclass(frozen=True)
class Resume:
    """How a run keeps its state, and when it stops.

    Attributes:
        checkpoints: where the state is kept and resumed from; that of rank 0 counts.
        interval: seconds between working checkpoints; 0 keeps every step.
        stop: returns the number of the signal that asked to stop, or 0; any process may be asked.
    """

    checkpoints: WorkingCheckpoints | None = None
    interval: float = 20.0
    stop: Callable[[], int] = lambda: 0
