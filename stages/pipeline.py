"""The pipeline's fixed paths, and how a stage script calls its command."""

import sys
from collections.abc import Mapping
from pathlib import Path

import click

from tinyllm.commands.options import section_arguments
from tinyllm.config.params import load_params
from tinyllm.errors import TinyLLMError

PARAMS = Path("params.yaml")
PREPARED = "data/prepared"
TOKENS = "data/tokens"
CHECKPOINT = "models/checkpoint"
EXPORT = "models/export"
TRAIN_REPORTS = "reports/train"
EVALUATION = "reports/evaluate"


def run_stage(command: click.Command, sections: tuple[str, ...], paths: Mapping[str, str]) -> None:
    """Call a command with sections of params.yaml as flags, as a person would at the prompt.

    Args:
        command: the click command.
        sections: the sections of params.yaml that it takes.
        paths: its path options, by flag.
    """
    try:
        params = load_params(PARAMS)
    except TinyLLMError as error:
        click.secho(f"Error: {error}", fg="red", err=True)
        sys.exit(error.exit_code)
    arguments = [argument for flag, path in paths.items() for argument in (flag, path)]
    for name in sections:
        arguments += section_arguments(params[name])
    command.main(arguments, prog_name=f"tinyllm {command.name}")
