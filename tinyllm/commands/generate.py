"""`tinyllm generate`."""

import sys

import click

from tinyllm.commands.options import Command, section_options
from tinyllm.config.sampling import SamplingConfig


@click.command(cls=Command)
@click.argument("prompt", required=False)
@click.option(
    "--model",
    default="models/checkpoint",
    show_default=True,
    help="A checkpoint folder, an export folder, or models:/NAME@ALIAS.",
)
@section_options(SamplingConfig)
def generate(prompt: str | None, model: str, sampling: SamplingConfig) -> None:
    r"""Write text after PROMPT; without one, after what standard input holds.

    \b
    tinyllm generate "What news, my lord?" --max-new-tokens 200
    tinyllm generate --model models:/tinyllm@champion --temperature 0 < scene.txt
    """
    import torch

    from tinyllm.inference.generate import stream_text
    from tinyllm.tracking.registry import load_model

    # more threads do not help a single stream of a small model
    torch.set_num_threads(1)
    loaded = load_model(model)
    text = prompt if prompt is not None else sys.stdin.read()
    sys.stdout.write(text)
    for character in stream_text(loaded, text, sampling):
        sys.stdout.write(character)
        sys.stdout.flush()
    sys.stdout.write("\n")
