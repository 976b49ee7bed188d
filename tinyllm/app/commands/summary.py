"""`tinyllm summary`."""

import contextlib
from pathlib import Path
from typing import Any

import click

from tinyllm.base.command import FOLDER, Command
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.params_file import read_params
from tinyllm.base.text import plain

_NEXT = """\
Next:
  make chat                                talk to it
  make ui                                  compare runs in the browser (MLflow)
  dvc plots show                           curves and pictures of this run
  dvc exp run --temp -S {seed}=2{gap}try other parameters; yours stay
  README.md                                your own text, sweeps, serving, CI"""


@click.command(cls=Command)
@click.option("--reports", type=FOLDER, default=Path("reports"), show_default=True)
@click.option("--models", type=FOLDER, default=Path("models"), show_default=True)
def summary(reports: Path, models: Path) -> None:
    """Show what the last pipeline run reached, a sample, and what to do next."""
    metrics = _read_figures(
        reports / "evaluate" / "metrics.json",
        {"bits_per_character": float, "baseline_bits_per_character": float, "split": str},
    )
    training = _read_figures(
        reports / "train" / "metrics.json", {"parameters": int, "best_step": int}
    )
    samples = _read_samples(reports / "evaluate" / "samples.txt")
    click.echo()
    click.secho(
        f"{metrics['bits_per_character']:.4f} bits per character on the {metrics['split']} split "
        f"(n-gram model: {metrics['baseline_bits_per_character']:.4f})",
        bold=True,
    )
    click.echo(f"{training['parameters']:,} parameters, best at step {training['best_step']}\n")
    click.echo(plain("\n".join(samples.split("\n")[1:13]), "\n\t") + "\n")
    click.echo(f"The model: {models / 'checkpoint'}, exported to {models / 'export'}\n")
    seed = _as_dvc_takes_it("train", "seed")
    click.echo(_NEXT.format(seed=seed, gap=" " * (17 - len(seed))))


def _as_dvc_takes_it(section: str, field: str) -> str:
    """A parameter for `dvc exp run -S`: with a plus before one that params.yaml leaves out."""
    known: dict[str, Any] = {}
    with contextlib.suppress(TinyLLMError):
        known = read_params(Path("params.yaml")).get(section) or {}
    return f"{section}.{field}" if field in known else f"+{section}.{field}"


def _check_it_is_there(path: Path) -> Path:
    """Return the path of a file that the pipeline writes.

    Raises:
        TinyLLMError: it does not exist.
    """
    if not path.exists():
        # git has the metrics of the last run, but not its samples
        raise TinyLLMError(
            f"There is no {path}: the pipeline has not run here yet; run 'make repro' (or 'dvc "
            f"repro') first."
        )
    return path


def _read_figures(path: Path, kinds: dict[str, type]) -> dict[str, Any]:
    """Read the metrics of a stage.

    Raises:
        TinyLLMError: the file or a metric is missing, or has another type.
    """
    from tinyllm.base.files import read_json

    found = read_json(_check_it_is_there(path))
    if not isinstance(found, dict) or not all(
        isinstance(found.get(name), kind) for name, kind in kinds.items()
    ):
        raise TinyLLMError(f"{path} is damaged; run 'dvc repro' to write it again.")
    return found


def _read_samples(path: Path) -> str:
    """Read the samples of the evaluate stage.

    Raises:
        TinyLLMError: they are missing or cannot be read.
    """
    try:
        return _check_it_is_there(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise TinyLLMError(f"Cannot read {path}: {why}; run 'dvc repro' again.") from None
