"""`tinyllm export`."""

from pathlib import Path

import click

from tinyllm.commands.options import INPUT_FOLDER, OUTPUT_FOLDER, Command, section_options
from tinyllm.config.export import ExportConfig
from tinyllm.config.numerics import NumericsConfig
from tinyllm.config.runtime import TrackingConfig


@click.command(cls=Command)
@click.option("--checkpoint", type=INPUT_FOLDER, required=True, help="Folder of the train stage.")
@click.option(
    "--evaluation",
    type=INPUT_FOLDER,
    required=True,
    help="Folder of the evaluate stage; its figure decides who is champion.",
)
@click.option("--out", type=OUTPUT_FOLDER, required=True, help="Folder to write the exports to.")
@section_options(ExportConfig, NumericsConfig, TrackingConfig)
def export(
    checkpoint: Path,
    evaluation: Path,
    out: Path,
    export: ExportConfig,
    numerics: NumericsConfig,
    tracking: TrackingConfig,
) -> None:
    """Write a checkpoint in the forms that other programs open, and register it in MLflow.

    huggingface/ opens in transformers as a plain Qwen3 model; pyfunc/ is an MLflow model that
    'mlflow models serve' serves. The model with the fewest bits per character on the same test
    split gets the alias 'champion'.
    """
    from tinyllm.numerics import setup_numerics

    setup_numerics(numerics)
    from tinyllm.export.run import export_checkpoint
    from tinyllm.files import read_json, sha256
    from tinyllm.models.checkpoint import load_checkpoint
    from tinyllm.tracking.naming import all_params, run_name
    from tinyllm.tracking.tracker import Tracker

    loaded = load_checkpoint(checkpoint)
    metrics = read_json(evaluation / "metrics.json")
    export_checkpoint(export, loaded, out)
    facts = loaded.training
    params = all_params({"export": export, "numerics": numerics})
    with Tracker(facts["fingerprint"], tracking, stage="export") as tracker:
        tracker.start(run_name(params), params)
        if "pyfunc" in export.formats:
            weights = sha256(checkpoint / "model.safetensors")
            tracker.export(out / "pyfunc", weights, facts["step"], metrics)
    for form in export.formats:
        size = sum(path.stat().st_size for path in (out / form).rglob("*") if path.is_file())
        click.echo(f"  {form:12} {size / 1e6:6.2f} MB  {out / form}")
