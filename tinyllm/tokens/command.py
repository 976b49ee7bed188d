"""The tokenize stage, as a command."""

from pathlib import Path

import click

from tinyllm.base.command import FOLDER, WorkCommand, section_options
from tinyllm.base.runtime import RuntimeConfig
from tinyllm.tokens.config import TokenizeConfig
from tinyllm.tokens.encode import tokenize_corpus


@click.command(cls=WorkCommand)
@click.option("--prepared", type=FOLDER, required=True, help="Folder of the prepare stage.")
@click.option("--out", type=FOLDER, required=True, help="Folder to write tokens to.")
@section_options(TokenizeConfig, RuntimeConfig)
def tokenize(prepared: Path, out: Path, tokenize: TokenizeConfig, runtime: RuntimeConfig) -> None:
    """Learn the tokens of the training split and encode all splits."""
    meta = tokenize_corpus(tokenize, prepared, out, runtime)
    click.echo(f"{meta['vocab_size']} tokens, stored as {meta['dtype']}")
    for name, split in meta["splits"].items():
        unknown = split["unknown_characters"]
        note = f", unknown: {' '.join(map(repr, unknown))}" if unknown else ""
        click.echo(f"  {name:5} {split['tokens']:>11,} tokens, {split['coverage']:.4%} known{note}")
