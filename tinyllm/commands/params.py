"""`tinyllm params`."""

import click

from tinyllm.commands.options import Command, describe_range
from tinyllm.config.params import SECTIONS


@click.command(cls=Command)
def params() -> None:
    """Print every hyperparameter of params.yaml as a Markdown table."""
    click.echo("| parameter | default | range | meaning |")
    click.echo("|---|---|---|---|")
    for name, section in SECTIONS.items():
        for key, info in section.model_fields.items():
            default = str(info.default).replace("\n", "\\n")
            bounds = describe_range(section, key)
            click.echo(f"| `{name}.{key}` | `{default}` | {bounds} | {info.description} |")
