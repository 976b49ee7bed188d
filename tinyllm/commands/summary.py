"""`tinyllm summary`."""

from pathlib import Path

import click

from tinyllm.commands.options import INPUT_FOLDER, Command

_NEXT = """\
Next:
  make chat                                talk to it
  make ui                                  compare runs in the browser (MLflow)
  dvc plots show                           curves and pictures of this run
  dvc exp run -S train.learning_rate=0.01  try another learning rate
  README.md                                your own text, sweeps, serving, CI"""


@click.command(cls=Command)
@click.option("--reports", type=INPUT_FOLDER, default=Path("reports"), show_default=True)
@click.option("--models", type=INPUT_FOLDER, default=Path("models"), show_default=True)
def summary(reports: Path, models: Path) -> None:
    """Say what the last pipeline run reached, show a sample, and name what to do next."""
    from tinyllm.files import read_json

    metrics = read_json(reports / "evaluate" / "metrics.json")
    training = read_json(reports / "train" / "metrics.json")
    samples = (reports / "evaluate" / "samples.txt").read_text(encoding="utf-8")
    click.echo()
    click.secho(
        f"{metrics['bits_per_character']:.4f} bits per character on the {metrics['split']} split "
        f"(n-gram model: {metrics['baseline_bits_per_character']:.4f})",
        bold=True,
    )
    click.echo(f"{training['parameters']:,} parameters, best at step {training['best_step']}\n")
    click.echo("\n".join(samples.splitlines()[1:13]) + "\n")
    click.echo(f"The model: {models / 'checkpoint'}, exported to {models / 'export'}\n")
    click.echo(_NEXT)
