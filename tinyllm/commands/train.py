"""`tinyllm train`."""

import contextlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinyllm.closure import ROOT, import_closure
from tinyllm.commands.options import INPUT_FOLDER, OUTPUT_FOLDER, Command, section_options
from tinyllm.config.base import Section
from tinyllm.config.model import ModelConfig
from tinyllm.config.numerics import NumericsConfig
from tinyllm.config.runtime import RuntimeConfig, TrackingConfig
from tinyllm.config.training import TrainingConfig
from tinyllm.outs import OutFolder, check_places

if TYPE_CHECKING:
    from tinyllm.numerics import Arithmetic
    from tinyllm.tokenization.tokenizer import CharacterTokenizer
    from tinyllm.tracking.tracker import Tracker
    from tinyllm.training.distributed import Group
    from tinyllm.training.run import TrainingResult

REPORTS = OutFolder(
    writer="tinyllm train",
    files=("history.csv", "metrics.json", "curves.png"),
    mark="metrics.json",
    sign=frozenset({"best_step", "val_loss", "val_bits_per_character", "parameters"}),
)


@click.command(cls=Command)
@click.option("--tokens", type=INPUT_FOLDER, required=True, help="Folder of the tokenize stage.")
@click.option("--out", type=OUTPUT_FOLDER, required=True, help="Folder to write the model to.")
@click.option("--reports", type=OUTPUT_FOLDER, required=True, help="Folder for the history.")
@section_options(ModelConfig, TrainingConfig, NumericsConfig, RuntimeConfig, TrackingConfig)
def train(
    tokens: Path,
    out: Path,
    reports: Path,
    model: ModelConfig,
    train: TrainingConfig,
    numerics: NumericsConfig,
    runtime: RuntimeConfig,
    tracking: TrackingConfig,
) -> None:
    """Train a transformer and keep its best weights by loss on the validation split.

    Writes model.safetensors, config.json and tokenizer.json; and, as a report, the history of
    losses and a picture of it. If an earlier run of the very same training was interrupted, it
    goes on from there and ends with the same bytes.
    """
    from tinyllm.logger import setup_logger
    from tinyllm.numerics import setup_numerics

    arithmetic = setup_numerics(numerics, processes=numerics.processes)
    from tinyllm.models.checkpoint import CHECKPOINT

    check_places(
        {"--out": (out, CHECKPOINT), "--reports": (reports, REPORTS)}, {"--tokens": tokens}
    )
    from tinyllm.commands.observer import TrainingDisplay
    from tinyllm.tokenization.tokenizer import CharacterTokenizer
    from tinyllm.tracking.lineage import CONFIGURATION_TAG, fingerprint
    from tinyllm.tracking.store import working_folder
    from tinyllm.tracking.tracker import Tracker
    from tinyllm.training.checkpoint import WorkingCheckpoints
    from tinyllm.training.workers import (
        Workers,
        check_processes,
        rank_of_this_process,
        train_along,
    )

    check_processes(train, numerics)
    setup_logger(working_folder() / "logs" / "train.log")
    tokenizer = CharacterTokenizer.load_state(tokens / "tokenizer.json")
    shared = (tokens, tokenizer.vocab_size, model, train, numerics, arithmetic)
    if rank := rank_of_this_process():
        train_along(*shared, rank=rank)
        return
    sections: dict[str, Section] = {"model": model, "train": train, "numerics": numerics}
    training = {
        "model": model.model_dump(),
        "train": train.model_dump(),
        "numerics": numerics.decisive(),
    }
    data = [tokens / file for file in ("train.bin", "val.bin", "tokenizer.json")]
    code = [ROOT / path for path in import_closure("tinyllm.commands.train")]
    name = fingerprint(training, data, code)
    seedless = {**training, "train": train.model_dump(exclude={"seed"})}
    tags = {CONFIGURATION_TAG: fingerprint(seedless, data, code)}
    checkpoints = WorkingCheckpoints(working_folder() / "training" / name)
    tracker = Tracker(name, tracking, stage="train")
    with contextlib.ExitStack() as stack:
        stack.enter_context(checkpoints.locked())
        stack.enter_context(tracker)
        _describe_run(tracker, sections, tokens, tags)
        display = stack.enter_context(TrainingDisplay(train, runtime, tracker))
        group = stack.enter_context(Workers(*shared))
        result = _run(
            tokens, tokenizer, model, train, arithmetic, runtime, checkpoints, display, group
        )
        description = {"fingerprint": name, "params": train.model_dump(), "data": _data(tokens)}
        _publish(result, out, reports, model, tokenizer, description)
        _record(tracker, result, out, reports)
        checkpoints.clear()
    bits = result.best_val_loss / math.log(2)
    click.echo(f"Best at step {result.best_step}: {bits:.4f} bits per character on val, in {out}")


def _run(
    tokens: Path,
    tokenizer: "CharacterTokenizer",
    model: ModelConfig,
    config: TrainingConfig,
    arithmetic: "Arithmetic",
    runtime: RuntimeConfig,
    checkpoints: Any,
    display: Any,
    group: "Group",
) -> "TrainingResult":
    from tinyllm.tokenization.encode import load_tokens
    from tinyllm.training.run import count_epochs, run_training

    train_tokens = load_tokens(tokens, "train")
    epochs = count_epochs(config, model.sequence_length, len(train_tokens))
    click.echo(
        f"Training on {len(train_tokens):,} characters, {epochs:g} times over, "
        f"{'portable' if arithmetic.portable else 'fast'} arithmetic on {arithmetic.device}"
    )
    return run_training(
        train_tokens,
        load_tokens(tokens, "val"),
        tokenizer.vocab_size,
        model,
        config,
        arithmetic,
        checkpoints=checkpoints,
        checkpoint_interval=runtime.checkpoint_interval,
        observer=display,
        group=group,
    )


def _publish(
    result: "TrainingResult",
    out: Path,
    reports: Path,
    model: ModelConfig,
    tokenizer: "CharacterTokenizer",
    description: dict[str, Any],
) -> None:
    from tinyllm.evaluation.metrics import rounded
    from tinyllm.evaluation.pictures import draw_curves
    from tinyllm.evaluation.tables import to_csv
    from tinyllm.files import write_json, write_text
    from tinyllm.models.checkpoint import save_checkpoint
    from tinyllm.replacing import new_directory

    facts = {
        "step": result.best_step,
        "val_loss": rounded(result.best_val_loss),
        **description,
    }
    history = [
        {key: rounded(value) if key != "step" else value for key, value in row.items()}
        for row in result.history
    ]
    metrics = {
        "best_step": result.best_step,
        "val_loss": rounded(result.best_val_loss),
        "val_bits_per_character": rounded(result.best_val_loss / math.log(2)),
        "parameters": result.num_parameters,
    }
    with new_directory(reports, REPORTS) as folder:
        write_text(folder / "history.csv", to_csv(history))
        write_json(folder / "metrics.json", metrics)
        draw_curves(history, folder / "curves.png")
    save_checkpoint(out, result.weights, model, tokenizer, facts)


def _data(tokens: Path) -> dict[str, Any]:
    """What the model learns from and is chosen by: length and fingerprint of both splits."""
    from tinyllm.files import read_json

    splits = read_json(tokens / "meta.json")["splits"]
    return {
        split: {"characters": splits[split]["tokens"], "fingerprint": splits[split]["fingerprint"]}
        for split in ("train", "val")
    }


def _describe_run(
    tracker: "Tracker", sections: dict[str, Section], tokens: Path, tags: dict[str, str]
) -> None:
    from tinyllm.files import read_json
    from tinyllm.tracking.naming import all_params, run_name

    params = all_params(sections)
    tracker.start(run_name(params), params, tags)
    for split, facts in read_json(tokens / "meta.json")["splits"].items():
        if split != "test":
            tracker.dataset(split, tokens / f"{split}.bin", facts["fingerprint"], "training")


def _record(tracker: "Tracker", result: "TrainingResult", out: Path, reports: Path) -> None:
    from tinyllm.files import sha256

    for file in sorted(reports.glob("[!.]*")):
        tracker.artifact(file, "train")
    metrics = {"best_val_loss": result.best_val_loss}
    tracker.checkpoint(out, sha256(out / "model.safetensors"), result.best_step, metrics)
