"""One target in a process of its own; see `__main__`.

python -m tests.campaign.fuzz.worker TARGET EXECUTIONS CORPUS REPORT
"""

import contextlib
import hashlib
import importlib
import json
import logging
import os
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

from tests.campaign.fuzz import good
from tests.campaign.fuzz.target import ROOT, Target

_INTERVAL = 0.5
# what reads in Python; the rest of the reading is done in C and Rust, where nothing is seen
_READERS = ["tinyllm", "yaml", "gguf"]


class Tally:
    """Executions and faults so far, written to a file that outlives a kill."""

    def __init__(self, target: Target, executions: int, report: Path) -> None:
        self._target, self._most, self._report = target, executions, report
        self._done, self._faults = 0, {}
        self._since = self._written = time.monotonic()

    def run(self, data: bytes) -> None:
        """Give an input to the target, and count."""
        if error := self._target.faults(data):
            self._note(error, data)
        self._done += 1
        now = time.monotonic()
        if self._done >= self._most or now - self._written > _INTERVAL:
            self._written = now
            self._write()
        if self._done >= self._most:
            good.clear()
            # libFuzzer has no other end than one that looks like a crash
            os._exit(0)

    def _note(self, error: BaseException, data: bytes) -> None:
        key = place_of(error)
        known: dict[str, Any] = self._faults.setdefault(key, {"count": 0, "text": str(error)[:200]})
        known["count"] += 1
        file = self._report.parent / f"fault-{hashlib.sha256(key.encode()).hexdigest()[:10]}"
        if known["count"] == 1 or len(data) < known["bytes"]:
            file.write_bytes(data)
            known.update(bytes=len(data), file=str(file))

    def _write(self) -> None:
        seconds = time.monotonic() - self._since
        facts = {"done": self._done, "seconds": seconds, "faults": self._faults}
        new = self._report.with_suffix(".new")
        new.write_text(json.dumps(facts), encoding="utf-8")
        new.replace(self._report)


def place_of(error: BaseException) -> str:
    """An error's type, and where in the program, or else in the target, it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if f"{ROOT}/tinyllm/" in frame.filename]
    last = (ours or frames)[-1]
    # a target that objects says so itself
    if isinstance(error, AssertionError):
        last = frames[-1]
    where = Path(last.filename)
    shown = where.relative_to(ROOT) if where.is_relative_to(ROOT) else where.name
    return f"{type(error).__name__} in {shown}, line {last.lineno}, {last.name}"


def settle() -> None:
    """Be alone: no logs, no warnings, a folder of nobody's, no settings of the person's."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "DVC_", "GIT_"))]:
        del os.environ[name]
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DVC_ROOT"] = str(good.empty("here"))
    os.chdir(good.scratch() / "here")


def main(name: str, executions: int, corpus: Path, report: Path, options: list[str]) -> None:
    """Run a target so many times."""
    import atheris

    settle()
    with atheris.instrument_imports(include=_READERS, enable_loader_override=False):
        target = importlib.import_module("tests.campaign.fuzz.target").all_targets()[name]
        # what a target imports when it first runs
        for seed in target.seeds:
            with contextlib.suppress(BaseException):
                target.run(seed)
    tally = Tally(target, executions, report)
    atheris.Setup([sys.argv[0], str(corpus), *options], tally.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]), sys.argv[5:])
