"""The prepare stage, as a command."""

from pathlib import Path

import click

from tinyllm.base.command import FOLDER, WorkCommand, section_options
from tinyllm.base.runtime import RuntimeConfig
from tinyllm.base.splits import SPLITS
from tinyllm.corpus.config import PrepareConfig
from tinyllm.corpus.prepare import prepare_corpus


@click.command(cls=WorkCommand)
@click.option("--out", type=FOLDER, required=True, help="Folder to write the splits to.")
@section_options(PrepareConfig, RuntimeConfig)
def prepare(out: Path, prepare: PrepareConfig, runtime: RuntimeConfig) -> None:
    """Read raw text, clean it, and split it into train, val and test."""
    told: list[str] = []
    summary = prepare_corpus(prepare, out, told.append, runtime)
    click.echo("\n".join(told))
    for name in SPLITS:
        split = summary[name]
        click.echo(
            f"  {name:5} {split['characters']:>11,} characters  {split['lines']:>9,} lines  "
            f"{len(split['alphabet']):>5} distinct"
        )
