"""The evaluate stage, as a command."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from tinyllm.base.command import FOLDER, WorkCommand, section_options, watched
from tinyllm.base.events import DatasetRead, FileWritten, Measured, RunStarted, Watch
from tinyllm.base.outs import check_places
from tinyllm.evaluation.config import EvaluateConfig
from tinyllm.kernels.config import NumericsConfig
from tinyllm.kernels.machine import possible_here
from tinyllm.kernels.numerics import setup_numerics
from tinyllm.tokens.meta import META


@click.command(cls=WorkCommand)
@click.option("--checkpoint", type=FOLDER, required=True, help="Folder of the train stage.")
@click.option("--tokens", type=FOLDER, required=True, help="Folder of the tokenize stage.")
@click.option(
    "--history",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The train stage's history.csv, to draw the curves of its losses from.",
)
@click.option("--out", type=FOLDER, required=True, help="Folder to write the report to.")
@section_options(EvaluateConfig, NumericsConfig)
@watched
def evaluate(
    checkpoint: Path,
    tokens: Path,
    history: Path | None,
    out: Path,
    evaluate: EvaluateConfig,
    numerics: NumericsConfig,
    watch: Watch,
) -> None:
    """Measure a checkpoint on a held-out split and draw samples from it."""
    # only training is long enough to be worth a compilation
    numerics = possible_here(numerics).model_copy(update={"compile": False})
    arithmetic = setup_numerics(numerics)
    # torch is imported from here on, after the environment is set
    from tinyllm.evaluation.report import EVALUATION, evaluate_checkpoint
    from tinyllm.inference.checkpoint import load_checkpoint
    from tinyllm.model.checkpoint import check_training_facts

    inputs = {"--checkpoint": checkpoint, "--tokens": tokens}
    inputs |= {"--history": history} if history else {}
    check_places({"--out": (out, EVALUATION)}, inputs)
    loaded = load_checkpoint(checkpoint, arithmetic)
    check_training_facts(loaded.training, checkpoint)
    metrics = evaluate_checkpoint(evaluate, loaded, tokens, out, arithmetic, history)
    facts, split = loaded.training, metrics["split"]
    started = RunStarted(
        "evaluate", facts["fingerprint"], {"evaluate": evaluate, "numerics": numerics}
    )
    with watch(started) as tell:
        tell(DatasetRead(split, tokens / META, metrics["fingerprint"], "evaluation"))
        numbers = {k: float(v) for k, v in metrics.items() if isinstance(v, int | float)}
        tell(Measured(facts["step"], {f"{split}_{k}": v for k, v in numbers.items()}))
        for file in sorted(out.glob("[!.]*")):
            tell(FileWritten(file))
    unit = loaded.tokenizer.unit
    click.echo(
        f"{split}: {metrics['bits_per_character']:.4f} bits per character "
        f"({metrics.get('baseline_order', evaluate.baseline_order)}-gram model: "
        f"{metrics['baseline_bits_per_character']:.4f}), "
        f"perplexity {metrics['perplexity']:.3f}, next {unit} right "
        f"{metrics['top1_accuracy']:.1%}; report in {out}"
    )
    for sentence in _left_out(metrics):
        click.echo(sentence)


def _left_out(metrics: Mapping[str, Any]) -> Iterator[str]:
    """What was measured on a part only, in words."""
    if scored := metrics.get("scored_characters"):
        yield (
            f"Measured on {scored:,} of {metrics['characters']:,} characters, evenly spread; the "
            f"rest is left out (evaluate.max_characters)."
        )
    if counted := metrics.get("baseline_characters"):
        yield (
            f"The n-gram model was counted from {counted:,} tokens of the training split, "
            f"evenly spread; the rest is left out (evaluate.baseline_characters)."
        )
