"""`tinyllm tokenize`."""

from pathlib import Path

import click

from tinyllm.commands.options import INPUT_FOLDER, OUTPUT_FOLDER, Command, section_options
from tinyllm.config.tokenize import TokenizeConfig
from tinyllm.tokenization.encode import tokenize_corpus


@click.command(cls=Command)
@click.option("--prepared", type=INPUT_FOLDER, required=True, help="Folder of the prepare stage.")
@click.option("--out", type=OUTPUT_FOLDER, required=True, help="Folder to write tokens to.")
@section_options(TokenizeConfig)
def tokenize(prepared: Path, out: Path, tokenize: TokenizeConfig) -> None:
    """Learn the alphabet of the training split and encode all splits.

    Writes tokenizer.json, train.bin, val.bin, test.bin (raw arrays of the smallest integer type)
    and meta.json, which says how much of each split the alphabet covers.
    """
    meta = tokenize_corpus(tokenize, prepared, out)
    click.echo(f"{meta['vocab_size']} tokens, stored as {meta['dtype']}")
    for name, split in meta["splits"].items():
        unknown = split["unknown_characters"]
        note = f", unknown: {' '.join(map(repr, unknown))}" if unknown else ""
        click.echo(f"  {name:5} {split['tokens']:>11,} tokens, {split['coverage']:.4%} known{note}")
