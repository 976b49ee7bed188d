"""A revision of the repository: its committed reports, and its samples."""

import csv
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyllm.app.repository import find_repository
from tinyllm.app.tracking.lineage import git
from tinyllm.app.tracking.outs import read_out
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.files import read_text

LOSS = "bits_per_character"
_SAMPLES = "reports/evaluate/samples.txt"


@dataclass(frozen=True)
class Revision:
    """A commit, or the working tree if `commit` is empty."""

    root: Path
    commit: str = ""

    def text(self, path: str) -> str:
        """The text of a committed file; empty if there is none."""
        if self.commit:
            return git("-C", str(self.root), "show", f"{self.commit}:./{path}")
        file = self.root / path
        return read_text(file) if file.is_file() else ""

    def metrics(self) -> dict[str, Any]:
        """Metrics of the evaluate stage; none if it has not run."""
        path = "reports/evaluate/metrics.json"
        try:
            found = json.loads(self.text(path) or "{}")
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict) or not isinstance(found.get(LOSS, 0.0), int | float):
            raise self._damaged(path)
        return found

    def history(self) -> list[dict[str, str]]:
        """Rows of the run's history, with `val_bits`, the bits per character on validation."""
        rows = self._rows("reports/train/history.csv", "step", "val_loss")
        bits = self._bits_of_a_nat() if rows else 0.0
        return [{**row, "val_bits": str(float(row["val_loss"]) * bits)} for row in rows]

    def _bits_of_a_nat(self) -> float:
        """Bits per character of a nat per token."""
        path = "reports/train/metrics.json"
        try:
            found = json.loads(self.text(path) or "{}")
            return float(found["val_bits_per_character"]) / float(found["val_loss"])
        except (KeyError, TypeError, ValueError, ZeroDivisionError, RecursionError):
            raise self._damaged(path) from None

    def positions(self) -> dict[str, float]:
        """Bits per character by tokens of context."""
        rows = self._rows("reports/evaluate/positions.csv", "context", "bits")
        return {row["context"]: float(row["bits"]) for row in rows}

    def _rows(self, path: str, *columns: str) -> list[dict[str, str]]:
        """The rows of a table; these columns hold finite numbers.

        Raises:
            TinyLLMError: they do not.
        """
        try:
            rows = list(csv.DictReader(io.StringIO(self.text(path), newline="")))
            whole = all(math.isfinite(float(row[name])) for row in rows for name in columns)
        except (KeyError, TypeError, ValueError, csv.Error):
            rows, whole = [], False
        if not whole:
            raise self._damaged(path)
        return rows

    def _damaged(self, path: str) -> TinyLLMError:
        where = f"{path} of {self.commit[:10]}" if self.commit else path
        return TinyLLMError(f"{where} is damaged; run 'dvc repro' to write it again.")

    def samples(self) -> str:
        """Samples, from DVC's cache or remote; empty if neither has them."""
        if not self.commit:
            return self.text(_SAMPLES)
        return read_out(_SAMPLES, self.commit, self.root)


def find_revision(root: Path, name: str) -> Revision:
    """The revision that a branch, tag or commit names.

    Raises:
        TinyLLMError: there is no repository or no commit, or git knows no such revision.
    """
    find_repository(root)
    commit = git("-C", str(root), "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    if not commit:
        raise TinyLLMError(
            f"There is no revision '{name}' here; fetch it, or name another by --base."
        )
    return Revision(root, commit)
