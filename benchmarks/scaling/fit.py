"""Fit the scaling rules to the measured runs, and say how well they predict other texts.

    python benchmarks/scaling/fit.py [RUNS]

reads benchmarks/scaling/runs.csv, writes tinyllm/planning/law.json, and prints, for each text, the
error of a law fitted to all others: before any run of that text, and after its three shortest,
somewhat as `tinyllm plan` corrects them.
"""

import csv
import sys
from pathlib import Path

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from benchmarks.scaling.collect import RUNS
from tinyllm.base.files import write_text
from tinyllm.planning.law import FITTED, Law, error_of
from tinyllm.planning.points import operations
from tinyllm.planning.terms import TERMS

PILOTS = 3


def read_runs(path: Path) -> list[dict[str, object]]:
    """The rows, with numbers where there are any."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: v if k == "text" else float(v) for k, v in row.items()} for row in rows]


def columns_of(rows):
    """The rows as arrays, by column."""
    return {key: np.array([row[key] for row in rows]) for key in rows[0] if key != "text"}


def expected(law: Law, rows) -> np.ndarray:
    """What the law expects of the runs of one text, in several sizes."""
    columns = columns_of(rows)
    return law.predict(columns, columns, columns["steps"])[0]


def after_pilots(law: Law, rows):
    """What it expects of the others after the runs with the fewest operations."""
    columns = columns_of(rows)
    work = columns["steps"] * operations(columns, columns["vocab_size"])
    order = np.argsort(work)
    pilots, others = ([rows[i] for i in part] for part in (order[:PILOTS], order[PILOTS:]))
    columns = columns_of(pilots)
    return expected(law.learn(columns, columns, columns["steps"], columns["loss"]), others), others


def reached(rows) -> np.ndarray:
    """What the runs reached."""
    return np.array([row["loss"] for row in rows])


@click.command()
@click.argument("runs", type=click.Path(exists=True, path_type=Path), default=RUNS)
@click.option("--out", type=click.Path(path_type=Path), default=FITTED, show_default=True)
def main(runs: Path, out: Path) -> None:
    """Fit, write, and print the errors."""
    rows = read_runs(runs)
    law = Law.fit(rows)
    write_text(out, law.to_json())
    print(
        f"{len(rows)} runs: noise {law.noise:.3f}, between texts {law.offset:.3f} "
        f"with coefficients that differ by {law.variety:.2f} of their range"
    )
    inside, _ = error_of(expected(law, rows), reached(rows))
    print(f"error on the runs that it was fitted to, root mean square: {inside:.2%}")
    apart, piloted = [], []
    for text in sorted({row["text"] for row in rows}):
        own = [row for row in rows if row["text"] == text]
        others = Law.fit([row for row in rows if row["text"] != text])
        apart.append((expected(others, own), reached(own)))
        mean, largest = error_of(*apart[-1])
        print(f"{text:10} {len(own):4} runs: {mean:7.2%}, largest {largest:7.2%}")
        for size in {row["train_tokens"] for row in own}:
            of_size = [row for row in own if row["train_tokens"] == size]
            if len(of_size) > PILOTS:
                loss, runs_after = after_pilots(others, of_size)
                piloted.append((loss, reached(runs_after)))
    for name, pairs in (("texts never seen", apart), (f"after {PILOTS} short runs", piloted)):
        if pairs:
            ours, theirs = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
            mean, largest = error_of(ours, theirs)
            print(f"{name}, {len(ours)} runs: {mean:.2%}, largest {largest:.2%}")
    for name, mean, deviation in zip(
        TERMS, law.mean, np.sqrt(np.diag(law.covariance)), strict=True
    ):
        print(f"  {name:24} {mean:+.4f} +- {deviation:.4f}")


if __name__ == "__main__":
    main()
