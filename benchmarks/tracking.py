"""The cost of tracking, with a healthy store and with servers that fail.

    python benchmarks/tracking.py overhead [--steps 2000] [--turns 5] [--threads 1]
    python benchmarks/tracking.py faults   [--steps 2000] [--threads 1] [--only TEXT]

Each run is a real `tinyllm train` of a small model with a point for every step. `overhead`
trains with and without tracking in turn, into SQLite. `faults` trains beside a real MLflow server
behind a proxy (tests/faults.py), each time between two runs without tracking; disk full needs
root. The training threads should leave the server a core.
"""

import os
import shutil
import signal
import statistics
import sys
import tempfile
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.faults import FAULTS, Outcome, train_once, train_through
from tests.mlflow_server import MLflowServer, small_disk
from tests.project import ROOT
from tinyllm.app.config import DisplayConfig
from tinyllm.base.section import Section
from tinyllm.corpus.config import PrepareConfig
from tinyllm.kernels.config import NumericsConfig
from tinyllm.model.config import ModelConfig
from tinyllm.tokens.config import TokenizeConfig
from tinyllm.training.config import TrainingConfig

HEAD = (
    "| server | loop, s | x untracked | wait at the end, s | points | before sync | after sync "
    "| duplicates | rest |\n|---|---|---|---|---|---|---|---|---|"
)
steps_option = click.option("--steps", default=2000, show_default=True)
threads_option = click.option("--threads", default=1, show_default=True)


def sections(steps: int, threads: int, seed: int = 1) -> dict[str, Section]:
    """A model whose steps take 15 to 30 ms here, each with a point."""
    return {
        "model": ModelConfig(d_model=64, num_heads=2, num_layers=3, d_ff=192, sequence_length=64),
        "train": TrainingConfig(seed=seed, max_steps=steps, batch_size=8, eval_interval=500),
        "numerics": NumericsConfig(threads=threads),
        "runtime": DisplayConfig(log_interval=1, progress=False),
    }


def make_inputs(folder: Path) -> tuple[Path, Path]:
    """Tokens of one play, and an empty MLflow database."""
    from tinyllm.app.tracking.store import connect
    from tinyllm.corpus.prepare import prepare_corpus
    from tinyllm.tokens.encode import tokenize_corpus

    source = ROOT / "data/raw/sample/the-salt-duke.txt"
    prepare_corpus(PrepareConfig(source=str(source)), folder / "prepared")
    tokenize_corpus(TokenizeConfig(), folder / "prepared", folder / "tokens")
    os.environ["DVC_ROOT"] = str(folder)
    connect(f"sqlite:///{folder / 'empty.db'}")
    return folder / "tokens", folder / "empty.db"


@click.group()
def main() -> None:
    """What tracking costs a run."""
    # clean up servers and mounted disks even if `timeout`, for example, ends this
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


@main.command()
@steps_option
@threads_option
@click.option("--turns", default=5, show_default=True)
def overhead(steps: int, threads: int, turns: int) -> None:
    """Train with tracking into SQLite and without, in turns; print the ratios."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokens, empty = make_inputs(folder)
        ratios = []
        print("| turn | untracked, s | tracked, s | ratio | wait at the end, s |")
        print("|---|---|---|---|---|")
        for turn in range(turns):
            chosen = sections(steps, threads, seed=turn)
            shutil.copyfile(empty, folder / "mlflow.db")
            both: dict[bool, Outcome] = {}
            # the order alternates
            for tracked in (turn % 2 == 0, turn % 2 == 1):
                uri = f"sqlite:///{folder / 'mlflow.db'}" if tracked else ""
                both[tracked] = train_once(folder / f"{turn}{tracked}", tokens, chosen, uri)
            ratios.append(both[True].loop / both[False].loop)
            wait = both[True].behind - both[False].behind
            print(
                f"| {turn + 1} | {both[False].loop:.2f} | {both[True].loop:.2f} "
                f"| {ratios[-1]:.4f} | {wait:.1f} |",
                flush=True,
            )
        print(f"\nmedian ratio {statistics.median(ratios):.4f}, {steps} steps, a point each")


@main.command()
@steps_option
@threads_option
@click.option("--lock-seconds", default=30.0, show_default=True)
@click.option("--only", default="", help="Faults whose name contains this text.")
def faults(steps: int, threads: int, lock_seconds: float, only: str) -> None:
    """Train beside a real server through each fault; print a table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokens, empty = make_inputs(folder)
        chosen = sections(steps, threads)
        print(HEAD, flush=True)
        before = train_once(folder / "untracked", tokens, chosen, "")
        for number, fault in enumerate(filter(lambda fault: only in fault, FAULTS)):
            place = folder / str(number)
            try:
                outcome = _beside_server(fault, place, tokens, empty, chosen, lock_seconds)
            except PermissionError as error:
                print(f"| {fault} | skipped: {error} |", flush=True)
                continue
            after = train_once(place / "untracked", tokens, chosen, "")
            print(_row(fault, outcome, before, after), flush=True)
            before = after


def _beside_server(
    fault: str,
    place: Path,
    tokens: Path,
    empty: Path,
    chosen: dict[str, Section],
    lock_seconds: float,
) -> Outcome:
    with small_disk(place / "disk") as disk:
        server = MLflowServer(disk / "server", empty)
        server.start()
        try:
            return train_through(
                fault, place / "work", tokens, chosen, server, lock_seconds=lock_seconds
            )
        finally:
            server.kill()


def _row(fault: str, outcome: Outcome, before: Outcome, after: Outcome) -> str:
    untracked = (before.loop + after.loop) / 2
    wait = outcome.behind - (before.behind + after.behind) / 2
    rest = [*outcome.faults]
    if outcome.exit_code or outcome.sync_code:
        rest.append(f"exit codes {outcome.exit_code}, sync {outcome.sync_code}")
    rest.append(f"{len(outcome.warnings)} warning(s)")
    return (
        f"| {fault} | {outcome.loop:.2f} | {outcome.loop / untracked:.3f} | {wait:.1f} "
        f"| {outcome.expected} | {outcome.before_sync} | {outcome.present} "
        f"| {outcome.duplicates} | {'; '.join(rest)} |"
    )


if __name__ == "__main__":
    main()
