"""Working checkpoints of a run whose model is shared out, with torch.distributed.checkpoint.

Every process writes what it holds, into a folder that all see; any number of processes can read
them. A JSON file is written after the folder, with the SHA-256 of every file in it.
"""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from tinyllm.base.documents import Document, Sha256, read_document
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.files import sha256, write_json
from tinyllm.training.distributed import Group
from tinyllm.training.resume import TrainingState, WorkingCheckpoints, stem_of

if TYPE_CHECKING:
    from tinyllm.training.shards import Shards

_log = logging.getLogger(__name__)


class _Index(Document):
    """The JSON file of a checkpoint."""

    step: int
    files: dict[str, Sha256]
    facts: dict[str, Any]


class ShardedCheckpoints:
    """The working checkpoints of one run; all processes call the same methods together."""

    def __init__(
        self, checkpoints: WorkingCheckpoints | None, group: Group, shards: "Shards | None"
    ) -> None:
        """Work in the folder that the process of rank 0 gives, if any."""
        self._checkpoints: WorkingCheckpoints | None = group.from_first(checkpoints)
        self._group, self._shards = group, shards

    def save(self, state: TrainingState) -> None:
        """Write a checkpoint and delete all but the newest two.

        Raises:
            TinyLLMError: a process could not write.
        """
        if self._checkpoints is None:
            return
        folder = self._checkpoints.shards_of(stem_of(state.step))
        if self._group.rank == 0:
            self._checkpoints.remove(folder.stem)
            self._checkpoints.remove_unfinished()
        self._group.from_first(None)
        with _explained(f"Cannot write {folder}, perhaps since the disk is full"):
            save(state.tensors, storage_writer=FileSystemWriter(folder), no_dist=self._alone)
        own = sorted(folder.glob(f"__{self._group.rank}_*"))
        files = self._group.gather({file.name: sha256(file) for file in own})
        if self._group.rank == 0:
            files.append({".metadata": sha256(folder / ".metadata")})
            found = {name: digest for part in files for name, digest in part.items()}
            index = {"step": state.step, "files": found, "facts": state.facts}
            write_json(folder.with_suffix(".json"), index)
            self._checkpoints.keep_newest()

    def load_latest(self) -> TrainingState | None:
        """Read the newest intact checkpoint, or None; damaged ones are renamed and logged."""
        if self._checkpoints is None:
            return None
        for stem in reversed(self._group.from_first(self._checkpoints.stems())):
            folder = self._checkpoints.shards_of(stem)
            if (index := self._intact(folder)) is not None:
                return TrainingState(index.step, self._read(folder), index.facts)
            if self._group.rank == 0:
                self._checkpoints.set_aside(stem)
        return None

    @property
    def _alone(self) -> bool:
        return self._group.size == 1

    def _intact(self, folder: Path) -> _Index | None:
        """The checkpoint's index, if no file is damaged; each process reads some of them."""
        try:
            index = read_document(folder.with_suffix(".json"), _Index, "it is not used")
            names = sorted(index.files)[self._group.rank :: self._group.size]
            fault = [name for name in names if sha256(folder / name) != index.files[name]]
        except (TinyLLMError, OSError) as error:
            index, fault = None, [str(error)]
        (bad,) = self._group.largest(bool(fault))
        if fault:
            _log.warning("Skipping the working checkpoint %s: %s is damaged", folder, fault[0])
        return None if bad else index

    def _read(self, folder: Path) -> dict[str, Tensor]:
        reader = FileSystemReader(folder)
        tensors = {
            name: self._room_for(outline)
            for name, outline in reader.read_metadata().state_dict_metadata.items()
            if isinstance(outline, TensorStorageMetadata)
        }
        with _explained(f"Cannot read {folder}"):
            load(tensors, storage_reader=reader, no_dist=self._alone)
        return tensors

    def _room_for(self, outline: TensorStorageMetadata) -> Tensor:
        shape, dtype = outline.size, outline.properties.dtype
        if self._shards is None or not shape:
            return torch.empty(shape, dtype=dtype)
        return self._shards.empty(shape, dtype)


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn torch's exception, which holds a traceback of every process, into a sentence."""
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except CheckpointException as error:
        cause, _ = next(iter(error.failures.values()))
        raise TinyLLMError(f"{what}: {' '.join(str(cause).split())}.") from None
