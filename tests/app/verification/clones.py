"""A repository as the pipeline leaves it, small enough to be made again in milliseconds."""

import hashlib
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors.numpy import load_file, save_file

from tests.conftest import write_prepared
from tests.project import run_in
from tinyllm.app.tracking.journal import Journal

FINGERPRINT = "f" * 32
OUTS = {
    "prepare": ("data/prepared",),
    "tokenize": ("data/tokens",),
    "train": ("models/checkpoint", "reports/train/history.csv", "reports/train/metrics.json"),
    "evaluate": ("reports/evaluate/metrics.json",),
    "export": ("models/export",),
}
COMPUTING = ("train", "evaluate", "export")


def of_training(bits: float) -> dict[str, Any]:
    """The train stage's metrics."""
    loss = bits * math.log(2)
    return {"val_bits_per_character": bits, "val_loss": loss, "parameters": 869, "best_step": 30}


def of_evaluation(bits: float) -> dict[str, Any]:
    """The evaluate stage's metrics."""
    of_baseline = {"baseline_bits_per_character": 2.1, "characters": 35, "split": "test"}
    return {"bits_per_character": bits, "loss": bits * math.log(2), **of_baseline}


METRICS = {
    "reports/train/metrics.json": of_training(1.87),
    "reports/evaluate/metrics.json": of_evaluation(1.9),
}
WEIGHTS = Path("models/checkpoint/model.safetensors")
STEPS = (10, 20, 30)


def write_outs(folder: Path) -> None:
    """What the stages write, and the journal of the training."""
    texts = {
        "reports/train/history.csv": "step,loss\n1,2\n",
        "models/checkpoint/config.json": json.dumps({"training": {"fingerprint": FINGERPRINT}}),
        "models/export/pyfunc/MLmodel": "flavors: {}\n",
        **{name: json.dumps(metrics) for name, metrics in METRICS.items()},
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    write_prepared(
        folder / "data/prepared",
        train="To be, or not to be.\n" * 9,
        val="That is the question.\n",
        test="",
    )
    (folder / "data/tokens").mkdir()
    (folder / "data/tokens/train.bin").write_bytes(bytes(range(200)))
    weights = {name: np.zeros((5, 6), dtype=np.float32) for name in ("o_proj", "embedding")}
    save_file(weights, folder / WEIGHTS)
    shutil.copyfile(folder / WEIGHTS, folder / "models/export/pyfunc/model.safetensors")
    write_journal(folder)


def write_journal(folder: Path, nudge: float = 0.0) -> None:
    """The curves of the training, a little different from the second point on."""
    journal = Journal(folder / ".tinyllm/journal", FINGERPRINT)
    journal.path.unlink(missing_ok=True)
    tags = {"cpu": "the first CPU", "version.torch": "1", "git.branch": "main"}
    journal.add("run", stage="train", experiment="tinyllm", name="run", params={}, tags=tags)
    for step in STEPS:
        journal.add_metrics(step, {"train_loss": 1 / step + (nudge if step >= STEPS[1] else 0)})


def write_lock(folder: Path) -> None:
    """A dvc.lock of what is there."""
    stages = {
        stage: {
            "deps": [{"path": "code.py", "md5": _md5(folder / "code.py")}],
            "params": {"params.yaml": {"numerics" if stage in COMPUTING else stage: {}}},
            "outs": [{"path": out, "md5": _md5(folder / out)} for out in outs],
        }
        for stage, outs in OUTS.items()
    }
    (folder / "dvc.lock").write_text(yaml.safe_dump({"stages": stages}), encoding="utf-8")


def make_repository(folder: Path) -> Path:
    """A committed project whose pipeline ran; of the outs git holds the metrics only."""
    (folder / "code.py").write_text("pass\n", encoding="utf-8")
    write_outs(folder)
    write_lock(folder)
    (folder / "raw.txt").write_text("To be, or not to be. That is the question.\n")
    (folder / "params.yaml").write_text("prepare: {source: raw.txt}\n", encoding="utf-8")
    (folder / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
    ignored = ("data/", "models/", "history.csv", ".tinyllm", "raw.txt", "mlflow.db*", "mlruns")
    (folder / ".gitignore").write_text("\n".join(ignored), encoding="utf-8")
    run_in(folder, "git", "init", "--quiet", "--initial-branch=main")
    run_in(folder, "git", "add", "--all")
    run_in(folder, "git", "commit", "--quiet", "--message", "the pipeline ran")
    return folder


class Pipeline:
    """Runs in a clone: puts prepared outs there, each fault into them, and writes the lock."""

    def __init__(self) -> None:
        self.clone: Path | None = None
        self.seen: dict[str, str] = {}
        self.faults: list[Callable[[Path], object]] = []

    def __call__(self, clone: Path) -> None:
        self.clone = clone
        found = [p for p in clone.rglob("*") if p.is_file() and ".git" not in p.parts]
        self.seen = {str(p.relative_to(clone)): p.read_text(encoding="utf-8") for p in found}
        write_outs(clone)
        for fault in self.faults:
            fault(clone)
        write_lock(clone)


def other_losses(val: float, test: float) -> Callable[[Path], None]:
    """A fault that makes another model: other weights, and losses that differ by these."""

    def fault(folder: Path) -> None:
        flip_a_weight(folder)
        moved = (of_training(1.87 + val), of_evaluation(1.9 + test))
        for name, metrics in zip(METRICS, moved, strict=True):
            (folder / name).write_text(json.dumps(metrics), encoding="utf-8")

    return fault


def flip_a_bit(path: Path, offset: int) -> None:
    """Turn the lowest bit of a byte."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def flip_a_weight(folder: Path) -> None:
    """Turn the lowest bit of one weight of the checkpoint."""
    weights = load_file(folder / WEIGHTS)
    weights["o_proj"].view(np.uint32)[3, 4] ^= 1
    save_file(weights, folder / WEIGHTS)


def _md5(path: Path) -> str:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    content = b"".join(f.name.encode() + f.read_bytes() for f in files if f.is_file())
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
