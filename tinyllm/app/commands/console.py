"""`tinyllm console`."""

from typing import TYPE_CHECKING

import click

from tinyllm.base.command import Command, section_options
from tinyllm.inference.config import SamplingConfig

if TYPE_CHECKING:
    from tinyllm.inference.checkpoint import Checkpoint


@click.command(cls=Command)
@click.option(
    "--model",
    default="models/checkpoint",
    show_default=True,
    help="A checkpoint folder, an export folder, or models:/NAME@ALIAS.",
)
@section_options(SamplingConfig)
def console(model: str, sampling: SamplingConfig) -> None:
    """Talk to a model: type a prompt and it continues it. /help lists the commands."""
    from tinyllm.app.console import TinyLLMConsole, read_lines
    from tinyllm.app.tracking.registry import locate_model
    from tinyllm.base.files import working_folder
    from tinyllm.formats.load import load_model

    def open_model(name: str) -> "Checkpoint":
        return load_model(locate_model(name))

    session = TinyLLMConsole(open_model(model), model, open_model, sampling)
    session.run(read_lines(working_folder() / "console-history"))
