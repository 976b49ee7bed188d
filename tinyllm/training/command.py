"""The train stage, as a command."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinyllm.base.command import FOLDER, WorkCommand, section_options, watched
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.events import CheckpointWritten, DatasetRead, FileWritten, RunStarted, Tell, Watch
from tinyllm.base.files import (
    rounded,
    sha256,
    working_folder,
    write_csv,
    write_json,
)
from tinyllm.base.outs import OutFolder, check_places
from tinyllm.base.replacing import new_directory
from tinyllm.base.runtime import RuntimeConfig
from tinyllm.kernels.config import NumericsConfig
from tinyllm.kernels.machine import possible_here
from tinyllm.kernels.numerics import setup_numerics
from tinyllm.model.config import ModelConfig
from tinyllm.tokens.meta import META, REMEDY, read_meta
from tinyllm.training.config import TrainingConfig
from tinyllm.training.launch import as_launched, is_restart, rank_of_this_process
from tinyllm.training.recipe import Recipe

if TYPE_CHECKING:
    from tinyllm.kernels.arithmetic import Arithmetic
    from tinyllm.tokens.windows import TokenData
    from tinyllm.training.run import TrainingResult

_LOCK_PATIENCE = 120.0
REPORTS = OutFolder(
    writer="tinyllm train",
    files=("history.csv", "metrics.json", "curves.png"),
    mark="metrics.json",
    sign=frozenset({"best_step", "val_loss", "val_bits_per_character", "parameters"}),
)


@dataclass(frozen=True)
class _Folders:
    """What is read, and what is written."""

    tokens: Path
    out: Path
    reports: Path


@click.command(cls=WorkCommand)
@click.option("--tokens", type=FOLDER, required=True, help="Folder of the tokenize stage.")
@click.option("--out", type=FOLDER, required=True, help="Folder to write the model to.")
@click.option("--reports", type=FOLDER, required=True, help="Folder for the history.")
@section_options(ModelConfig, TrainingConfig, NumericsConfig, RuntimeConfig)
@watched
def train(
    tokens: Path, out: Path, reports: Path, watch: Watch, runtime: RuntimeConfig, **sections: Any
) -> None:
    """Train a transformer and keep its best weights by loss on the validation split."""
    numerics = as_launched(possible_here(sections["numerics"]))
    recipe = Recipe(sections["model"], sections["train"], numerics)
    arithmetic = setup_numerics(numerics, processes=numerics.processes)
    # torch is imported from here on, after the environment is set
    from tinyllm.model.checkpoint import CHECKPOINT
    from tinyllm.training.workers import train_along

    places = {"--out": (out, CHECKPOINT), "--reports": (reports, REPORTS)}
    check_places(places, {"--tokens": tokens})
    recipe.check_processes()
    if rank := rank_of_this_process():
        train_along(tokens, recipe, arithmetic, rank=rank)
        return
    _train(_Folders(tokens, out, reports), recipe, arithmetic, runtime, watch)


def _train(
    folders: _Folders,
    recipe: Recipe,
    arithmetic: "Arithmetic",
    runtime: RuntimeConfig,
    watch: Watch,
) -> None:
    from tinyllm.training.resume import Resume, WorkingCheckpoints, stop_on_signal
    from tinyllm.training.run import run_training
    from tinyllm.training.workers import start_workers

    tokens, out = folders.tokens, folders.out
    fingerprint = recipe.fingerprint(tokens)
    configuration = recipe.fingerprint(tokens, with_seed=False)
    checkpoints = WorkingCheckpoints(working_folder() / "training" / fingerprint)
    with contextlib.ExitStack() as stack:
        # a process that was lost, on another machine, may hold it a little longer
        stack.enter_context(checkpoints.locked(_LOCK_PATIENCE if is_restart() else 0.0))
        started = RunStarted("train", fingerprint, recipe.sections(), configuration)
        tell = stack.enter_context(watch(started))
        data = _announce(tokens, recipe, arithmetic, tell)
        group, _ = stack.enter_context(start_workers(tokens, recipe, arithmetic))
        resume = Resume(
            checkpoints, runtime.checkpoint_interval, stack.enter_context(stop_on_signal())
        )
        result = run_training(data, recipe, arithmetic, tell=tell, resume=resume, group=group)
        _write(result, recipe, arithmetic, folders, fingerprint)
        for file in sorted(folders.reports.glob("[!.]*")):
            tell(FileWritten(file))
        weights = sha256(out / "model.safetensors")
        bits = _bits(result, tokens)
        losses = {"best_val_loss": result.best_val_loss, **bits}
        tell(CheckpointWritten(out, weights, result.best_step, losses))
        checkpoints.clear()
    click.echo(
        f"Best at step {result.best_step}: {bits['val_bits_per_character']:.4f} bits per character "
        f"on val, in {out}"
    )


def _bits(result: "TrainingResult", tokens: Path) -> dict[str, float]:
    """The loss of the best weights as figures that compare between all kinds of tokenizers."""
    val = read_meta(tokens).splits.val
    return {
        "val_bits_per_character": rounded(val.bits_per_character(result.best_val_loss)),
        "val_bits_per_byte": rounded(val.bits_per_byte(result.best_val_loss)),
    }


def _announce(tokens: Path, recipe: Recipe, arithmetic: "Arithmetic", tell: Tell) -> "TokenData":
    from tinyllm.tokens.tokenizer import load_tokenizer
    from tinyllm.tokens.windows import load_token_data

    # the checkpoint will hold it
    tokenizer = load_tokenizer(tokens / "tokenizer.json")
    if tokenizer.vocab_size != read_meta(tokens).vocab_size:
        raise TinyLLMError(f"{tokens / META} does not fit the tokenizer.json beside it; {REMEDY}.")
    data, meta = load_token_data(tokens), read_meta(tokens)
    for split in ("train", "val"):
        facts = meta.split(split)
        ratio = facts.tokens_per_character
        tell(DatasetRead(split, tokens / META, facts.fingerprint, "training", ratio))
    seen = recipe.training.windows * recipe.model.sequence_length / len(data.train)
    click.echo(
        f"Training on {len(data.train):,} {tokenizer.unit}s, {seen:.4g} times over, "
        f"{recipe.numerics.mode} arithmetic on {arithmetic.device}"
    )
    return data


def _write(
    result: "TrainingResult",
    recipe: Recipe,
    arithmetic: "Arithmetic",
    folders: _Folders,
    fingerprint: str,
) -> None:
    from tinyllm.model.checkpoint import save_checkpoint
    from tinyllm.tokens.tokenizer import load_tokenizer

    meta = read_meta(folders.tokens)
    facts = {
        "step": result.best_step,
        "val_loss": rounded(result.best_val_loss),
        "fingerprint": fingerprint,
        "params": recipe.training.model_dump(),
        "arithmetic": arithmetic.facts(),
        "data": {
            name: {"characters": facts.characters, "fingerprint": facts.fingerprint}
            for name, facts in (("train", meta.splits.train), ("val", meta.splits.val))
        },
    }
    history = [
        {key: rounded(value) if key != "step" else value for key, value in row.items()}
        for row in result.history
    ]
    metrics = {
        "best_step": result.best_step,
        "val_loss": rounded(result.best_val_loss),
        **_bits(result, folders.tokens),
        "parameters": result.num_parameters,
    }
    # the first one has no context
    if result.val_characters < meta.splits.val.tokens - 1:
        ratio = meta.splits.val.tokens_per_character
        metrics["val_characters"] = round(result.val_characters / ratio)
    with new_directory(folders.reports, REPORTS) as folder:
        write_csv(folder / "history.csv", history)
        write_json(folder / "metrics.json", metrics)
    tokenizer = load_tokenizer(folders.tokens / "tokenizer.json")
    save_checkpoint(folders.out, result.weights, recipe.model, tokenizer, facts)
