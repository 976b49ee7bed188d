"""`tinyllm prepare`."""

from pathlib import Path

import click

from tinyllm.commands.options import OUTPUT_FOLDER, Command, section_options
from tinyllm.config.prepare import PrepareConfig
from tinyllm.corpus.prepare import SPLITS, prepare_corpus


@click.command(cls=Command)
@click.option("--out", type=OUTPUT_FOLDER, required=True, help="Folder to write the splits to.")
@section_options(PrepareConfig)
def prepare(out: Path, prepare: PrepareConfig) -> None:
    """Read raw text, clean it, and split it into train.txt, val.txt and test.txt.

    Also writes summary.json: characters, bytes, lines, alphabet and fingerprint of each split.
    """
    summary = prepare_corpus(prepare, out)
    click.echo(f"{summary['files']} file(s) from {prepare.source}")
    for name in SPLITS:
        split = summary[name]
        click.echo(
            f"  {name:5} {split['characters']:>11,} characters  {split['lines']:>9,} lines  "
            f"{len(split['alphabet']):>5} distinct"
        )
