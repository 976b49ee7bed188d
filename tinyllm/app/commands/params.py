"""`tinyllm params`."""

import click

from tinyllm.app.params import SECTIONS
from tinyllm.base.command import Command, describe_range


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
