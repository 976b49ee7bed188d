"""`tinyllm train`, as a person calls it, and what it took.

    python -m tests.timed_train RESULT.json --tokens ... --out ... --reports ...

RESULT.json gets the seconds of the training loop and of what came behind it.
"""

import json
import sys
import time
from pathlib import Path

from tinyllm.kernels.config import NumericsConfig
from tinyllm.kernels.numerics import setup_numerics
from tinyllm.training.command import train


def main(result: Path, arguments: list[str]) -> None:
    """Train with the command's own flags."""
    # kernels are chosen when torch is first imported, and the loop's module imports it
    setup_numerics(NumericsConfig(threads=1))
    from tinyllm.training import run

    run_training, times = run.run_training, {}

    def timed(*positional, **named):
        since = time.perf_counter()
        trained = run_training(*positional, **named)
        times["end"] = time.perf_counter()
        times["loop"] = times["end"] - since
        return trained

    run.run_training = timed
    try:
        train.main(arguments, prog_name="tinyllm train", standalone_mode=True)
    finally:
        behind = time.perf_counter() - times["end"]
        result.write_text(json.dumps({"loop": times["loop"], "behind": behind}), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
