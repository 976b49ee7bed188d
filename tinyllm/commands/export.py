"""`tinyllm export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinyllm.commands.options import INPUT_FOLDER, OUTPUT_FOLDER, Command, section_options
from tinyllm.config.export import ExportConfig
from tinyllm.config.numerics import NumericsConfig
from tinyllm.config.runtime import TrackingConfig
from tinyllm.outs import check_places

if TYPE_CHECKING:
    from tinyllm.export.parity import Verdict


@click.command(cls=Command)
@click.option("--checkpoint", type=INPUT_FOLDER, required=True, help="Folder of the train stage.")
@click.option("--tokens", type=INPUT_FOLDER, required=True, help="Folder of the tokenize stage.")
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
    tokens: Path,
    evaluation: Path,
    out: Path,
    export: ExportConfig,
    numerics: NumericsConfig,
    tracking: TrackingConfig,
) -> None:
    """Write a checkpoint in the forms that other programs open, and register it in MLflow.

    huggingface/ opens in transformers as a plain Qwen3 model, onnx/ in ONNX Runtime, gguf/ in
    llama.cpp; pyfunc/ is an MLflow model that 'mlflow models serve' serves; playground.html runs
    the model in a browser. Each is opened again and compared with the model on held-out text
    before the folder appears; parity.json has the verdicts, README.md describes the model. A
    model that beats the champion's bits per character on the same test split by more than
    tracking.champion_margin becomes 'champion', any other 'candidate' ('tinyllm history').
    """
    from tinyllm.numerics import setup_numerics

    setup_numerics(numerics)
    from tinyllm.export.run import EXPORT, Source, export_checkpoint
    from tinyllm.files import read_json, sha256
    from tinyllm.models.checkpoint import load_checkpoint
    from tinyllm.tokenization.encode import load_tokens
    from tinyllm.tracking.naming import all_params, run_name
    from tinyllm.tracking.tracker import Tracker

    inputs = {"--checkpoint": checkpoint, "--tokens": tokens, "--evaluation": evaluation}
    check_places({"--out": (out, EXPORT)}, inputs)
    loaded = load_checkpoint(checkpoint)
    metrics = read_json(evaluation / "metrics.json")
    held_out = load_tokens(tokens, metrics["split"])[: loaded.model.config.sequence_length]
    source = Source(loaded, held_out.tolist(), metrics)
    verdicts = export_checkpoint(export, source, out, report=lambda text: click.echo(f"  {text}"))
    facts = loaded.training
    params = all_params({"export": export, "numerics": numerics})
    with Tracker(facts["fingerprint"], tracking, stage="export") as tracker:
        tracker.start(run_name(params), params)
        tracker.figures(facts["step"], _figures(verdicts, out))
        for file in ("parity.json", "README.md"):
            tracker.artifact(out / file, "export")
        if "pyfunc" in export.formats:
            weights = sha256(checkpoint / "model.safetensors")
            card = (out / "README.md").read_text(encoding="utf-8")
            tags = _version_tags(facts, metrics, verdicts)
            tracker.export(out / "pyfunc", weights, facts["step"], metrics, tags=tags, card=card)
    _show(verdicts, out)


def _figures(verdicts: "list[Verdict]", out: Path) -> dict[str, float]:
    """What was measured on this machine, by names that MLflow takes."""
    figures = {f"export/{name}/bytes": float(size) for name, size in _sizes(out).items()}
    for verdict in verdicts:
        name = f"export/{verdict.export}/{verdict.runtime}"
        figures[f"{name}/max_logit_difference"] = verdict.max_difference
        figures[f"{name}/characters_per_second"] = verdict.characters_per_second
    return figures


def _version_tags(
    facts: dict[str, Any], metrics: dict[str, Any], verdicts: "list[Verdict]"
) -> dict[str, str]:
    """What a version in the registry says of its data, its figures and its exports."""
    data = facts.get("data", {})
    tags = {f"data.{split}": str(of["fingerprint"]) for split, of in data.items()}
    tags["data.test"] = str(metrics["fingerprint"])
    tags |= {f"test.{k}": str(v) for k, v in metrics.items() if isinstance(v, int | float)}
    tags |= {
        f"parity.{verdict.export}.{verdict.runtime}": verdict.facts()["logits"]
        for verdict in verdicts
    }
    return {**tags, "tinyllm.fingerprint": str(facts["fingerprint"]), "step": str(facts["step"])}


def _sizes(out: Path) -> dict[str, int]:
    forms = (path for path in sorted(out.iterdir()) if path.is_dir() or path.suffix == ".html")
    return {
        form.name: sum(file.stat().st_size for file in [form, *form.rglob("*")] if file.is_file())
        for form in forms
    }


def _show(verdicts: "list[Verdict]", out: Path) -> None:
    for name, size in _sizes(out).items():
        click.echo(f"  {name:20} {size / 1e6:7.2f} MB")
    for verdict in verdicts:
        text = "same text" if verdict.same_text else "another text"
        click.echo(
            f"  {verdict.export:20} in {verdict.runtime}: logits {verdict.max_difference:.1e} "
            f"apart, {text}, {verdict.characters_per_second:,.0f} characters/s"
        )
