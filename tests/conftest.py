"""Shared by all tests: portable arithmetic, a small corpus, a small trained model, a store."""

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tinyllm.corpus.config import PrepareConfig
from tinyllm.kernels.arithmetic import Arithmetic
from tinyllm.kernels.config import NumericsConfig
from tinyllm.kernels.numerics import setup_numerics
from tinyllm.model.config import ModelConfig
from tinyllm.tokens.config import TokenizeConfig
from tinyllm.training.config import TrainingConfig

# before anything imports torch: kernels are chosen once per process; one thread, since threads
# that wait for each other are very slow when tests run in parallel
ARITHMETIC = setup_numerics(NumericsConfig(threads=1))

# the same examples everywhere, and others where somebody wants to look for more; how long one takes
# depends on what else the machine does
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

# a shell has what runs in its background ignore Ctrl-C, which the processes of tests would inherit
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent
SMALL_MODEL = ModelConfig(
    d_model=32, num_heads=1, num_layers=2, d_ff=64, sequence_length=32, dropout=0.1
)
SMALL_TRAINING = TrainingConfig(
    max_steps=60, batch_size=8, warmup_steps=5, eval_interval=20, learning_rate=0.02
)


def read_split(folder: Path, name: str) -> str:
    """The text of a split of the prepare stage, exactly as its bytes say."""
    return b"".join(path.read_bytes() for path in sorted(folder.glob(f"{name}-*.txt"))).decode()


def write_prepared(folder: Path, **texts: str) -> Path:
    """A folder as the prepare stage writes it, of the texts of the splits, each in one shard."""
    from tinyllm.base.files import write_json
    from tinyllm.corpus.shards import describe

    folder.mkdir(parents=True, exist_ok=True)
    summary: dict[str, Any] = {"files": 1}
    for name, text in texts.items():
        facts = summary[name] = {**describe(text), "shards": []}
        if text:
            file = f"{name}-00000.txt"
            (folder / file).write_bytes(text.encode("utf-8"))
            shard = {"file": file, "sha256": facts["fingerprint"]}
            facts["shards"] = [shard | {key: facts[key] for key in ("characters", "bytes")}]
    write_json(folder / "summary.json", summary)
    return folder


@pytest.fixture(scope="session")
def arithmetic() -> Arithmetic:
    """Portable arithmetic on the CPU, from `setup_numerics`."""
    return ARITHMETIC


@pytest.fixture(scope="session")
def text() -> str:
    """Twenty thousand characters of the sample corpus."""
    return (ROOT / "data/raw/sample/the-salt-duke.txt").read_text(encoding="utf-8")[:20_000]


@pytest.fixture(scope="session")
def prepared(text, tmp_path_factory) -> Path:
    """The prepare stage's folder for `text`."""
    from tinyllm.corpus.prepare import prepare_corpus

    folder = tmp_path_factory.mktemp("prepared")
    (folder / "raw.txt").write_text(text, encoding="utf-8")
    prepare_corpus(PrepareConfig(source=str(folder / "raw.txt")), folder / "prepared")
    return folder / "prepared"


@pytest.fixture(scope="session")
def tokens(prepared, tmp_path_factory) -> Path:
    """The tokenize stage's folder for `text`."""
    from tinyllm.tokens.encode import tokenize_corpus

    folder = tmp_path_factory.mktemp("tokens") / "tokens"
    tokenize_corpus(TokenizeConfig(), prepared, folder)
    return folder


@pytest.fixture(scope="session")
def checkpoint_folder(tokens, arithmetic, tmp_path_factory) -> Path:
    """A published checkpoint of a small model trained for a second."""
    from tinyllm.model.checkpoint import save_checkpoint
    from tinyllm.tokens.tokenizer import load_tokenizer
    from tinyllm.tokens.windows import load_token_data
    from tinyllm.training.recipe import Recipe
    from tinyllm.training.run import run_training

    recipe = Recipe(SMALL_MODEL, SMALL_TRAINING)
    result = run_training(load_token_data(tokens), recipe, arithmetic)
    folder = tmp_path_factory.mktemp("models") / "checkpoint"
    facts = {"fingerprint": "f" * 32, "step": result.best_step, "val_loss": result.best_val_loss}
    tokenizer = load_tokenizer(tokens / "tokenizer.json")
    save_checkpoint(folder, result.weights, SMALL_MODEL, tokenizer, facts)
    return folder


@pytest.fixture
def checkpoint(checkpoint_folder, arithmetic):
    """The small model, loaded."""
    from tinyllm.inference.checkpoint import load_checkpoint

    return load_checkpoint(checkpoint_folder, arithmetic)


@pytest.fixture(scope="session")
def export_source(checkpoint_folder, arithmetic, text):
    """The small model and some held-out text, as the export stage takes them."""
    from tinyllm.formats.exporters import Source
    from tinyllm.inference.checkpoint import load_checkpoint

    opened = load_checkpoint(checkpoint_folder, arithmetic)
    metrics = {"bits_per_character": 2.25, "split": "test", "fingerprint": "a1"}
    return Source(opened, opened.tokenizer.encode(text[900:932]).tolist(), metrics)


@pytest.fixture(scope="session")
def export_folder(export_source, tmp_path_factory) -> Path:
    """The small model in every format."""
    from tinyllm.formats.config import ExportConfig
    from tinyllm.formats.run import export_checkpoint

    folder = tmp_path_factory.mktemp("exports") / "export"
    export_checkpoint(ExportConfig(), export_source, folder)
    return folder


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory) -> Path:
    """A fresh MLflow database; creating one takes seconds, so tests copy this."""
    from tinyllm.app.tracking.store import connect

    folder = tmp_path_factory.mktemp("store")
    before = os.environ.get("DVC_ROOT")
    os.environ["DVC_ROOT"] = str(folder)
    try:
        connect(f"sqlite:///{folder / 'mlflow.db'}")
    finally:
        os.environ.pop("DVC_ROOT")
        if before is not None:
            os.environ["DVC_ROOT"] = before
    return folder / "mlflow.db"


@pytest.fixture
def workspace(tmp_path, monkeypatch, empty_store) -> Path:
    """An empty project as the current folder, with its own MLflow store."""
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def made_project(tmp_path_factory) -> Path:
    """A reduced copy of the project after one `dvc repro`, committed; for reading only.

    All processes of the session share it. `tests.project.copy_made` gives one to change.
    """
    from tests.project import make_project
    from tests.shared import make_once

    return make_once(tmp_path_factory, "made-project", make_project)
