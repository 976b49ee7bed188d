"""`tinyllm console`."""

import click

from tinyllm.commands.options import Command, section_options
from tinyllm.config.sampling import SamplingConfig


@click.command(cls=Command)
@click.option(
    "--model",
    default="models/checkpoint",
    show_default=True,
    help="A checkpoint folder, an export folder, or models:/NAME@ALIAS.",
)
@section_options(SamplingConfig)
def console(model: str, sampling: SamplingConfig) -> None:
    """Talk to a model: type a prompt and it goes on from it. /help lists the commands."""
    import torch

    from tinyllm.inference.console import TinyLLMConsole, read_lines
    from tinyllm.tracking.registry import load_model
    from tinyllm.tracking.store import working_folder

    torch.set_num_threads(1)
    session = TinyLLMConsole(load_model(model), model, load_model, sampling)
    session.run(read_lines(working_folder() / "console-history"))
