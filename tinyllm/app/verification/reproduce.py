"""Rebuilding a registered model from what the registry knows about it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tinyllm.app.tracking.origin import Origin, find_origin
from tinyllm.app.tracking.tracker import LINEAGE
from tinyllm.app.verification.compare import compare_paths
from tinyllm.app.verification.rebuild import clean_clone, copy_sources, run_pipeline
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.files import sha256
from tinyllm.base.prepared import read_summary
from tinyllm.corpus.shards import fingerprint_of

_WEIGHTS = Path("models/checkpoint/model.safetensors")
_EXPORT = Path("models/export/pyfunc")
# what registration adds: MLflow's metadata, and the version's origin
_ADDED_BY_THE_REGISTRY = (f"{_EXPORT}/registered_model_meta", f"{_EXPORT}/{LINEAGE}/")


@dataclass
class Reproduction:
    """What was rebuilt; no `differences` means the same bytes."""

    source: str
    run_id: str
    commit: str
    uncommitted: bool
    weights: str
    rebuilt_weights: str = ""
    differences: list[str] = field(default_factory=list)

    @property
    def reproduced(self) -> bool:
        """Whether the weights and every file of the registered model are the same."""
        return not self.differences

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values."""
        return {"reproduced": self.reproduced, **asdict(self)}


def reproduce(root: Path, source: str, run: Callable[[Path], None] = run_pipeline) -> Reproduction:
    """Rebuild a model from its registry entry or run, and compare the bytes.

    Args:
        root: a clone of the repository that the model was made in.
        source: `models:/NAME@ALIAS`, `models:/NAME/VERSION` or a run id.
        run: runs the pipeline in a clone.

    Raises:
        TinyLLMError: something needed is missing; the message names it.
    """
    origin = find_origin(source)
    report = Reproduction(
        source, origin.run_id, origin.commit, bool(origin.patch), origin.weights_sha256
    )
    with clean_clone(root, origin.commit, origin.patch) as clone:
        (clone / "params.yaml").write_bytes(origin.params)
        copy_sources(root, clone)
        run(clone)
        report.rebuilt_weights = sha256(clone / _WEIGHTS)
        report.differences = _differences(origin, report, clone)
    return report


def _differences(origin: Origin, report: Reproduction, clone: Path) -> list[str]:
    found = []
    prepared = clone / "data" / "prepared"
    summary = read_summary(prepared)
    for split, digest in origin.data.items():
        shards = summary.split(split).shards
        fingerprint = fingerprint_of(sha256(prepared / shard.file) for shard in shards)
        if not fingerprint.startswith(digest):
            found.append(f"data: the {split} split has another fingerprint than the run recorded")
    if report.rebuilt_weights != report.weights:
        found.append(f"{_WEIGHTS}: SHA-256 {report.rebuilt_weights}, registered {report.weights}")
    if origin.export is not None:
        if not (clone / _EXPORT).is_dir():
            raise TinyLLMError(f"The rebuilt pipeline wrote no {_EXPORT}; export.formats lacks it.")
        files = compare_paths(origin.export, clone / _EXPORT, str(_EXPORT))
        found += [str(one) for one in files if not one.file.startswith(_ADDED_BY_THE_REGISTRY)]
    if found and origin.left_out:
        found.append(f"uncommitted changes of {origin.left_out} were not recorded with the run")
    return found
