"""Finding the first difference between the original and the rebuilt outs."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from tinyllm.app.tracking.journal import Journal

_CURVES = ("train_loss", "gradient_norm", "val_loss")


@dataclass(frozen=True)
class Difference:
    """A file that differs, and where."""

    file: str
    detail: str

    def __str__(self) -> str:
        return f"{self.file}: {self.detail}"


def compare_paths(original: Path, rebuilt: Path, name: str) -> list[Difference]:
    """Compare two files, or two folders file by file; reports call them `name`."""
    if original.is_dir() and rebuilt.is_dir():
        names = sorted(_files_in(original) | _files_in(rebuilt))
        found = [compare_paths(original / n, rebuilt / n, f"{name}/{n}") for n in names]
        return [difference for differences in found for difference in differences]
    missing = [
        side for side, path in (("here", original), ("rebuilt", rebuilt)) if not path.exists()
    ]
    if missing:
        return [Difference(name, f"is missing {' and '.join(missing)}")]
    if original.read_bytes() == rebuilt.read_bytes():
        return []
    if name.endswith(".safetensors"):
        return [Difference(name, _compare_tensors(original, rebuilt))]
    return [Difference(name, _compare_bytes(original.read_bytes(), rebuilt.read_bytes()))]


def first_differing_step(original: Journal, rebuilt: Journal) -> int | None:
    """The first training step at which a curve differs between two journals.

    A single bit that differs in a weight changes the loss or the gradient norm within a few steps.
    The step is as exact as `display.log_interval`.
    """
    one, other = _points(original), _points(rebuilt)
    steps = sorted(
        step for step, key in one.keys() & other.keys() if one[step, key] != other[step, key]
    )
    return steps[0] if steps else None


def _points(journal: Journal) -> dict[tuple[int, str], float]:
    return {
        (event["step"], key): value
        for event, _ in journal.events()
        if event["kind"] == "metrics"
        for key, value in event["values"].items()
        if key in _CURVES
    }


def _compare_tensors(original: Path, rebuilt: Path) -> str:
    try:
        with safe_open(original, "np") as one, safe_open(rebuilt, "np") as other:
            if set(one.keys()) != set(other.keys()):
                return f"tensors {sorted(set(one.keys()) ^ set(other.keys()))} are not in both"
            names = [n for n in one.keys() if not _same(one.get_tensor(n), other.get_tensor(n))]  # noqa: SIM118 - no dict
            if not names:
                return "the header differs"
            a, b = one.get_tensor(names[0]), other.get_tensor(names[0])
    except (SafetensorError, OSError) as error:
        return f"cannot be read as tensors ({error})"
    if a.shape != b.shape:
        return f"tensor {names[0]} has shape {a.shape} here and {b.shape} rebuilt"
    place = tuple(int(i) for i in np.argwhere(a.view(np.uint32) != b.view(np.uint32))[0])
    more = f", and {len(names) - 1} more tensors" if len(names) > 1 else ""
    return f"tensor {names[0]} at {list(place)}: {a[place]!r} here, {b[place]!r} rebuilt{more}"


def _same(a: Any, b: Any) -> bool:
    return bool(a.shape == b.shape and a.tobytes() == b.tobytes())


def _compare_bytes(a: bytes, b: bytes) -> str:
    offset = next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )
    line = a.count(b"\n", 0, offset) + 1
    return f"differs from byte {offset} (line {line}) on; {len(a)} bytes here, {len(b)} rebuilt"


def _files_in(folder: Path) -> set[str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix() for path in files if "__pycache__" not in path.parts
    }


def as_json(value: Any) -> str:
    """Indented JSON of a report."""
    return json.dumps(value, indent=2, default=str)
