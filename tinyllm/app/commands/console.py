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
    from typing import cast

    from tinyllm.app.commands.generate import open_model
    from tinyllm.app.console import TinyLLMConsole, read_lines
    from tinyllm.base.files import working_folder

    def load(name: str) -> "Checkpoint":
        return cast("Checkpoint", open_model(name))

    session = TinyLLMConsole(load(model), model, load, sampling)
    session.run(read_lines(working_folder() / "console-history"))
