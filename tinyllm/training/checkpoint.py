"""Working checkpoints: what an interrupted training needs to go on as if nothing had happened.

They live outside the outs of the stage, in a folder named by the training's fingerprint, so
that neither DVC nor a changed parameter can mix them up. Each is a safetensors file and, written
after it, a JSON file that holds its SHA-256. Weights without a JSON file were never finished and do
not count; weights that do not fit theirs are set aside.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors.torch import save
from torch import Tensor

from tinyllm.errors import TinyLLMError
from tinyllm.files import read_json, sha256, write_bytes, write_json
from tinyllm.logger import get_logger
from tinyllm.models.checkpoint import read_tensors

_KEPT = 2
_log = get_logger(__name__)


@dataclass(frozen=True)
class TrainingState:
    """Everything that the rest of a training depends on."""

    step: int
    tensors: dict[str, Tensor]
    facts: dict[str, Any]


class WorkingCheckpoints:
    """The working checkpoints of one training; the newest two are kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process alone.

        Raises:
            TinyLLMError: another process is doing the same training.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / "lock")
            lock.acquire(timeout=0)
        except Timeout:
            raise TinyLLMError(
                f"Another process is already doing this training (it holds {self.folder}/lock); "
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
        stem = f"step-{state.step:08d}"
        weights = self.folder / f"{stem}.safetensors"
        write_bytes(weights, save(state.tensors))
        facts = {"step": state.step, "sha256": sha256(weights), "facts": state.facts}
        write_json(self.folder / f"{stem}.json", facts)
        for old in self._stems()[:-_KEPT]:
            self._remove(old)

    def load_latest(self) -> TrainingState | None:
        """Read the newest whole checkpoint, or None; damaged ones are set aside and logged."""
        for stem in reversed(self._stems()):
            try:
                return self._load(stem)
            except (TinyLLMError, KeyError, TypeError) as error:
                _log.warning("Working checkpoint %s is set aside: %s", stem, error)
                self._set_aside(stem)
        return None

    def clear(self) -> None:
        """Delete every checkpoint, once the training is done and published."""
        for pattern in ("step-*", "damaged-*"):
            for path in self.folder.glob(pattern):
                path.unlink(missing_ok=True)

    def _load(self, stem: str) -> TrainingState:
        facts = read_json(self.folder / f"{stem}.json")
        weights = self.folder / f"{stem}.safetensors"
        if not weights.is_file() or sha256(weights) != facts["sha256"]:
            raise TinyLLMError("its checksum does not fit")
        return TrainingState(facts["step"], read_tensors(weights), facts["facts"])

    def _stems(self) -> list[str]:
        return sorted(path.stem for path in self.folder.glob("step-*.json"))

    def _remove(self, stem: str) -> None:
        for suffix in (".json", ".safetensors"):
            (self.folder / f"{stem}{suffix}").unlink(missing_ok=True)

    def _set_aside(self, stem: str) -> None:
        for suffix in (".json", ".safetensors"):
            path = self.folder / f"{stem}{suffix}"
            if path.exists():
                path.rename(path.with_name(f"damaged-{path.name}"))
