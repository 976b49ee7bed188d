"""The export stage, as a command."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from tinyllm.base.command import FOLDER, WorkCommand, section_options, watched
from tinyllm.base.documents import Document, ShortSha256, parse_document
from tinyllm.base.events import ExportWritten, FileWritten, Measured, RunStarted, Watch
from tinyllm.base.files import read_json, sha256
from tinyllm.base.outs import check_places
from tinyllm.formats.config import ExportConfig
from tinyllm.kernels.config import NumericsConfig
from tinyllm.kernels.machine import possible_here
from tinyllm.kernels.numerics import setup_numerics

if TYPE_CHECKING:
    from tinyllm.formats.parity import Verdict

_REMEDY = "run the evaluate stage again"


class _Metrics(Document):
    """What is used of the evaluate stage's metrics by name."""

    split: Literal["test", "val"]
    fingerprint: ShortSha256
    bits_per_character: float


@click.command(cls=WorkCommand)
@click.option("--checkpoint", type=FOLDER, required=True, help="Folder of the train stage.")
@click.option("--tokens", type=FOLDER, required=True, help="Folder of the tokenize stage.")
@click.option(
    "--evaluation",
    type=FOLDER,
    required=True,
    help="Folder of the evaluate stage, whose metrics decide about the champion.",
)
@click.option("--out", type=FOLDER, required=True, help="Folder to write the exports to.")
@section_options(ExportConfig, NumericsConfig)
@watched
def export(
    checkpoint: Path,
    tokens: Path,
    evaluation: Path,
    out: Path,
    export: ExportConfig,
    numerics: NumericsConfig,
    watch: Watch,
) -> None:
    """Write a checkpoint in formats that other programs open."""
    # only training is long enough to be worth a compilation
    numerics = possible_here(numerics).model_copy(update={"compile": False})
    arithmetic = setup_numerics(numerics)
    # torch is imported from here on, after the environment is set
    from tinyllm.formats.exporters import Source
    from tinyllm.formats.run import EXPORT, export_checkpoint
    from tinyllm.inference.checkpoint import load_checkpoint
    from tinyllm.model.checkpoint import check_training_facts
    from tinyllm.tokens.shards import load_tokens

    inputs = {"--checkpoint": checkpoint, "--tokens": tokens, "--evaluation": evaluation}
    check_places({"--out": (out, EXPORT)}, inputs)
    loaded = load_checkpoint(checkpoint, arithmetic)
    check_training_facts(loaded.training, checkpoint)
    metrics = read_json(evaluation / "metrics.json")
    parse_document(metrics, _Metrics, str(evaluation / "metrics.json"), _REMEDY)
    held_out = load_tokens(tokens, metrics["split"])[: loaded.model.config.sequence_length]
    source = Source(loaded, held_out.tolist(), metrics)
    verdicts = export_checkpoint(export, source, out, report=lambda text: click.echo(f"  {text}"))
    facts = loaded.training
    sections = {"export": export, "numerics": numerics}
    with watch(RunStarted("export", facts["fingerprint"], sections)) as tell:
        tell(Measured(facts["step"], _figures(verdicts, out)))
        for file in ("parity.json", "README.md"):
            tell(FileWritten(out / file))
        if "pyfunc" in export.formats:
            weights = sha256(checkpoint / "model.safetensors")
            card = (out / "README.md").read_text(encoding="utf-8")
            tags = _version_tags(facts, metrics, verdicts)
            step = facts["step"]
            tell(ExportWritten(out / "pyfunc", weights, step, metrics, tags, card))
    _show(out)


def _figures(verdicts: "list[Verdict]", out: Path) -> dict[str, float]:
    """Measurements on this machine, by names that MLflow accepts."""
    figures = {f"export/{name}/bytes": float(size) for name, size in _sizes(out).items()}
    for verdict in verdicts:
        name = f"export/{verdict.export}/{verdict.runtime}"
        figures[f"{name}/max_logit_difference"] = verdict.max_difference
        figures[f"{name}/tokens_per_second"] = verdict.tokens_per_second
    return figures


def _version_tags(
    facts: dict[str, Any], metrics: dict[str, Any], verdicts: "list[Verdict]"
) -> dict[str, str]:
    """Tags of the registered version: its data, metrics and exports."""
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


def _show(out: Path) -> None:
    sizes = (f"{name} {size / 1e6:.2f} MB" for name, size in _sizes(out).items())
    click.echo(f"  {out}: {', '.join(sizes)}")
