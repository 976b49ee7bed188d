"""`tinyllm evaluate`."""

from pathlib import Path

import click

from tinyllm.commands.options import INPUT_FOLDER, OUTPUT_FOLDER, Command, section_options
from tinyllm.config.evaluate import EvaluateConfig
from tinyllm.config.numerics import NumericsConfig
from tinyllm.config.runtime import TrackingConfig
from tinyllm.outs import check_places


@click.command(cls=Command)
@click.option("--checkpoint", type=INPUT_FOLDER, required=True, help="Folder of the train stage.")
@click.option("--tokens", type=INPUT_FOLDER, required=True, help="Folder of the tokenize stage.")
@click.option("--out", type=OUTPUT_FOLDER, required=True, help="Folder to write the report to.")
@section_options(EvaluateConfig, NumericsConfig, TrackingConfig)
def evaluate(
    checkpoint: Path,
    tokens: Path,
    out: Path,
    evaluate: EvaluateConfig,
    numerics: NumericsConfig,
    tracking: TrackingConfig,
) -> None:
    """Measure a checkpoint on a held-out split and draw samples from it.

    Writes metrics.json (loss, perplexity, bits per character and per byte, accuracies, and an
    n-gram model's bits per character to compare with), the loss by position in the context,
    pictures and samples. Attaches them to the MLflow run of the training.
    """
    from tinyllm.numerics import setup_numerics

    arithmetic = setup_numerics(numerics)
    from tinyllm.evaluation.report import EVALUATION, evaluate_checkpoint
    from tinyllm.models.checkpoint import load_checkpoint
    from tinyllm.tracking.naming import all_params, run_name
    from tinyllm.tracking.tracker import Tracker

    check_places({"--out": (out, EVALUATION)}, {"--checkpoint": checkpoint, "--tokens": tokens})
    loaded = load_checkpoint(checkpoint, arithmetic.device)
    metrics = evaluate_checkpoint(evaluate, loaded, tokens, out, arithmetic)
    facts = loaded.training
    params = all_params({"evaluate": evaluate, "numerics": numerics})
    with Tracker(facts["fingerprint"], tracking, stage="evaluate") as tracker:
        tracker.start(run_name(params), params)
        tracker.dataset(
            metrics["split"],
            tokens / f"{metrics['split']}.bin",
            metrics["fingerprint"],
            "evaluation",
        )
        numbers = {k: float(v) for k, v in metrics.items() if isinstance(v, int | float)}
        tracker.figures(facts["step"], {f"{metrics['split']}_{k}": v for k, v in numbers.items()})
        for file in sorted(out.glob("[!.]*")):
            tracker.artifact(file, "evaluate")
    click.echo(
        f"{metrics['split']}: {metrics['bits_per_character']:.4f} bits per character "
        f"({evaluate.baseline_order}-gram model: {metrics['baseline_bits_per_character']:.4f}), "
        f"perplexity {metrics['perplexity']:.3f}, next character right "
        f"{metrics['top1_accuracy']:.1%}; report in {out}"
    )
