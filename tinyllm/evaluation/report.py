"""The evaluation of a checkpoint: metrics, tables, plots and samples in one folder."""

import hashlib
import math
from pathlib import Path
from typing import Any

from tinyllm.base.errors import TinyLLMError
from tinyllm.base.files import read_csv, rounded, write_csv, write_json, write_text
from tinyllm.base.outs import OutFolder
from tinyllm.base.replacing import new_directory
from tinyllm.evaluation.baselines import KneserNeyModel, highest_order
from tinyllm.evaluation.config import EvaluateConfig
from tinyllm.evaluation.metrics import (
    bits_by_position,
    score_tokens,
    summarize,
    surprise_of_characters,
)
from tinyllm.evaluation.plots import draw_curves, draw_positions, draw_surprise
from tinyllm.inference.checkpoint import Checkpoint
from tinyllm.inference.config import SamplingConfig
from tinyllm.inference.generate import generate_text
from tinyllm.kernels.arithmetic import Arithmetic
from tinyllm.tokens.limits import fitting_windows
from tinyllm.tokens.loaders import EvaluationLoader
from tinyllm.tokens.meta import SplitFacts, Splits, read_meta
from tinyllm.tokens.shards import Tokens, load_tokens
from tinyllm.tokens.tokenizer import load_tokenizer
from tinyllm.tokens.windows import OptimizedTextDataset

# what is drawn of the train stage's history
HISTORY = ("step", "train_loss", "val_loss")
EVALUATION = OutFolder(
    writer="tinyllm evaluate",
    files=(
        "metrics.json",
        "positions.csv",
        "positions.png",
        "surprise.png",
        "curves.png",
        "samples.txt",
    ),
    mark="metrics.json",
    sign=frozenset({"bits_per_character", "baseline_bits_per_character", "split", "fingerprint"}),
)


def evaluate_checkpoint(
    config: EvaluateConfig,
    checkpoint: Checkpoint,
    tokens: Path,
    out: Path,
    arithmetic: Arithmetic,
    history: Path | None = None,
) -> dict[str, Any]:
    """Measure a checkpoint on a held-out split and write the report.

    Writes `metrics.json`, `positions.csv`, `positions.png`, `surprise.png`, `samples.txt` and,
    with a history, `curves.png`.

    Args:
        config: what to measure and which samples to draw.
        checkpoint: the model.
        tokens: the folder of the tokenize stage.
        out: the folder to write; an earlier one is replaced.
        arithmetic: from `setup_numerics`.
        history: the train stage's history.csv, for the curves.

    Returns:
        The metrics. What was left out is among them: `scored_characters` and
        `baseline_characters` if they are fewer than there are, and `baseline_order` if it is lower
        than asked for. The fingerprint is that of the text, or of which part of it was scored.

    Raises:
        ConfigError: `out` holds something else.
        TinyLLMError: the split is missing or too short, or was encoded for other tokens.
    """
    losses = read_csv(history, HISTORY) if history else []
    facts = _facts_of_split(tokens, config.split, checkpoint)
    # at least one, since 0 stands for all of them
    most = math.ceil(config.max_characters * facts.tokens_per_character)
    loader = _loader(config, load_tokens(tokens, config.split), checkpoint, arithmetic, most)
    scores = score_tokens(checkpoint.model, loader, arithmetic)
    of_baseline = _measure_baseline(config, tokens, loader, facts)
    metrics = {
        **summarize(scores, facts),
        **of_baseline,
        "characters": facts.characters,
        "tokens": facts.tokens,
        "unknown_characters": sum(facts.unknown_characters.values()),
        **_what_was_scored(config, facts, loader),
    }
    positions = bits_by_position(scores, facts)
    _, end = next(loader.ranges())
    passage = loader.dataset.tokens[1:end][: len(scores.first)].tolist()
    surprise = surprise_of_characters(checkpoint.tokenizer.stream(), passage, scores.first)
    with new_directory(out, EVALUATION) as folder:
        write_json(folder / "metrics.json", metrics)
        write_csv(folder / "positions.csv", positions)
        draw_positions(positions, metrics["baseline_bits_per_character"], folder / "positions.png")
        draw_surprise(*surprise, folder / "surprise.png")
        if losses:
            curves = _bits_per_character(losses, read_meta(tokens).splits)
            draw_curves(curves, metrics["baseline_bits_per_character"], folder / "curves.png")
        write_text(folder / "samples.txt", draw_samples(config, checkpoint))
    return metrics


def _loader(
    config: EvaluateConfig,
    held_out: Tokens,
    checkpoint: Checkpoint,
    arithmetic: Arithmetic,
    most: int,
) -> EvaluationLoader:
    length, vocab_size = checkpoint.model.config.sequence_length, checkpoint.tokenizer.vocab_size
    dataset = OptimizedTextDataset(held_out, length, config.split)
    windows = fitting_windows(config.eval_batch_size, length, vocab_size)
    return EvaluationLoader(dataset, windows, arithmetic.device, most)


def _measure_baseline(
    config: EvaluateConfig, tokens: Path, loader: EvaluationLoader, facts: SplitFacts
) -> dict[str, Any]:
    """Bits per character of the n-gram model, and what it was denied."""
    train = load_tokens(tokens, "train")
    # contexts are counted as numbers of 63 bits: of a large alphabet shorter ones
    order = min(config.baseline_order, highest_order(train.vocab_size))
    model = KneserNeyModel(train, train.vocab_size, order, config.baseline_characters)
    loss = model.bits_per_token(loader.dataset.tokens, loader.ranges()) * math.log(2)
    found: dict[str, Any] = {"baseline_bits_per_character": rounded(facts.bits_per_character(loss))}
    if model.order < config.baseline_order:
        found["baseline_order"] = model.order
    if model.counted < len(train):
        ratio = read_meta(tokens).splits.train.tokens_per_character
        found["baseline_characters"] = round(model.counted / ratio)
    return found


def _what_was_scored(
    config: EvaluateConfig, facts: SplitFacts, loader: EvaluationLoader
) -> dict[str, Any]:
    if loader.is_whole:
        return {"split": config.split, "fingerprint": facts.fingerprint[:16]}
    # models are compared on equal fingerprints, so a part has another than the whole
    part = f"{facts.fingerprint} {config.max_characters}"
    return {
        "split": config.split,
        "fingerprint": hashlib.sha256(part.encode()).hexdigest()[:16],
        "scored_characters": round(loader.characters / facts.tokens_per_character),
    }


def _bits_per_character(losses: list[dict[str, float]], splits: Splits) -> list[dict[str, float]]:
    """A history of nats per token in bits per character."""
    return [
        {
            **row,
            "train_loss": splits.train.bits_per_character(row["train_loss"]),
            "val_loss": splits.val.bits_per_character(row["val_loss"]),
        }
        for row in losses
    ]


def draw_samples(config: EvaluateConfig, checkpoint: Checkpoint) -> str:
    """A sample for each prompt and seed, under a line that names both."""
    parts = []
    for prompt in config.prompts:
        for seed in range(config.sample_seeds):
            sampling = SamplingConfig(
                max_new_tokens=config.sample_length,
                temperature=config.sample_temperature,
                seed=seed,
            )
            text = generate_text(checkpoint, prompt, sampling)
            parts.append(f"--- prompt {prompt!r}, seed {seed}\n{text}\n")
    return "\n".join(parts)


def _facts_of_split(tokens: Path, split: str, checkpoint: Checkpoint) -> SplitFacts:
    if load_tokenizer(tokens / "tokenizer.json") != checkpoint.tokenizer:
        raise TinyLLMError(
            f"The checkpoint has other tokens than {tokens}: they belong to different corpora; "
            f"run the train stage again."
        )
    facts = read_meta(tokens).split(split)
    if facts.tokens == 0:
        raise TinyLLMError(
            f"The {split} split is empty; set prepare.{split}_fraction above 0 and run again, or "
            f"set evaluate.split to val."
        )
    return facts
