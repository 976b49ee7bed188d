"""Ten runs in a store, recorded and delivered as the stages do it, but without the training."""

import hashlib
import math
from pathlib import Path

from tests.project import run_in
from tinyllm.app.config import TrackingConfig
from tinyllm.app.params import SECTIONS
from tinyllm.app.tracking.tracker import Tracker
from tinyllm.base.events import (
    CheckpointWritten,
    DatasetRead,
    ExportWritten,
    FileWritten,
    Measured,
    RunStarted,
)
from tinyllm.corpus.config import PrepareConfig
from tinyllm.model.config import ModelConfig
from tinyllm.training.config import TrainingConfig

# learning rate, width, text, bits per character on the test split
SETTINGS = (
    (0.02, 64, "data/raw/sample", 2.31),
    (0.01, 64, "data/raw/sample", 2.38),
    (0.04, 64, "data/raw/sample", 2.27),
    (0.08, 64, "data/raw/sample", 2.64),
    (0.02, 96, "data/raw/sample", 2.24),
    (0.01, 96, "data/raw/sample", 2.29),
    (0.04, 96, "texts/mine.txt", 2.19),
    (0.02, 96, "texts/mine.txt", 2.22),
    (0.04, 128, "texts/mine.txt", 2.25),
    (0.02, 128, "texts/mine.txt", 2.33),
)
STEPS = range(50, 501, 50)
SAMPLE = "KING:\nWhat news, my lord? The <b>sea</b> & the salt.\n"


def sha256(text: str) -> str:
    """The checksum of a text, in hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def digest_of(source: str) -> str:
    """What names the training split of a text."""
    return sha256(f"train of {source}")


def record_ten_runs(folder: Path, config: TrackingConfig | None = None) -> None:
    """Record them in the folder, which becomes a repository with one commit."""
    run_in(folder, "git", "init", "--quiet", "--initial-branch=main")
    # of what is recorded here, nothing is source code
    (folder / ".git" / "info" / "exclude").write_text("*\n")
    run_in(folder, "git", "commit", "--quiet", "--allow-empty", "--message", "nothing yet")
    (folder / "tokens.bin").write_bytes(b"tokens")
    for number, setting in enumerate(SETTINGS):
        record_run(folder, number, setting, config or TrackingConfig())


def record_run(folder: Path, number: int, setting: tuple, config: TrackingConfig) -> None:
    """Record one run of three stages."""
    rate, width, source, bits = setting
    weights = sha256(f"weights {number}")
    sections = {name: section() for name, section in SECTIONS.items()} | {
        "prepare": PrepareConfig(source=source),
        "model": ModelConfig(d_model=width),
        "train": TrainingConfig(learning_rate=rate),
        "tracking": config,
    }

    def stage(name):
        started = RunStarted(name, sha256(f"run {number}")[:32], sections, sha256("all")[:32])
        return Tracker(started, config)

    with stage("train") as tracker:
        for split in ("train", "val"):
            fingerprint = sha256(f"{split} of {source}")
            tracker.tell(DatasetRead(split, folder / "tokens.bin", fingerprint, "training"))
        nats = bits * math.log(2)
        for step in STEPS:
            loss = nats + math.exp(-step / 90)
            losses = {"train_loss": loss - 0.05, "val_loss": loss}
            in_bits = {"train_bits": (loss - 0.05) / math.log(2), "val_bits": loss / math.log(2)}
            tracker.metrics(step, losses | in_bits)
        figures = {"best_val_loss": nats, "val_bits_per_character": bits}
        tracker.tell(CheckpointWritten(_checkpoint(folder), weights, 500, figures))
    with stage("evaluate") as tracker:
        fingerprint = sha256(f"test of {source}")
        tracker.tell(DatasetRead("test", folder / "tokens.bin", fingerprint, "evaluation"))
        tracker.tell(Measured(500, {"test_bits_per_character": bits}))
        for file in _reports(folder, bits):
            tracker.tell(FileWritten(file))
    test = {"fingerprint": sha256("one test text"), "bits_per_character": bits}
    with stage("export") as tracker:
        tags = {"data.train": digest_of(source)}
        card = f"# A model of {source}\n\nIt has *{bits}* bits.\n"
        tracker.tell(ExportWritten(folder / "export", weights, 500, test, tags, card))


def _checkpoint(folder: Path) -> Path:
    for name in ("checkpoint", "export"):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "model.safetensors").write_bytes(b"weights")
    return folder / "checkpoint"


def _reports(folder: Path, bits: float) -> list[Path]:
    files = {
        "samples.txt": SAMPLE,
        "positions.csv": f"context,bits\n1,{bits + 1}\n2,{bits + 0.5}\n4,{bits}\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    return [folder / name for name in files]
