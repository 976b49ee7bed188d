"""`tinyllm params`."""

import click

from tinyllm.app.params import SECTIONS
from tinyllm.base.command import Command, describe_range

_HEAD = """\
# Parameters

Every hyperparameter of `params.yaml`. `tinyllm params` prints this page from the classes that
check each value; on the command line, `train.learning_rate` is `tinyllm train --learning-rate`. The
sections {silent} change no byte of what the stages write, so DVC
does not watch them.

| parameter | default | range | meaning |
|---|---|---|---|"""


@click.command(cls=Command)
def params() -> None:
    """Print every hyperparameter of params.yaml as a page of Markdown."""
    names = [f"`{name}`" for name, section in SECTIONS.items() if not section.affects_outputs]
    click.echo(_HEAD.format(silent=f"{', '.join(names[:-1])} and {names[-1]}"))
    for name, section in SECTIONS.items():
        for key, info in section.model_fields.items():
            default = str(info.default).replace("\n", "\\n")
            bounds = describe_range(section, key)
            click.echo(f"| `{name}.{key}` | `{default}` | {bounds} | {info.description} |")
