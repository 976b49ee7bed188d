"""A revision of the repository: its committed reports, and its samples."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyllm.app.repository import find_repository
from tinyllm.app.tracking.lineage import git
from tinyllm.app.tracking.outs import read_out
from tinyllm.base.errors import TinyLLMError

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
        return file.read_text(encoding="utf-8") if file.is_file() else ""

    def metrics(self) -> dict[str, Any]:
        """Metrics of the evaluate stage."""
        return dict(json.loads(self.text("reports/evaluate/metrics.json") or "{}"))

    def history(self) -> list[dict[str, str]]:
        """Rows of the run's history."""
        return list(csv.DictReader(self.text("reports/train/history.csv").splitlines()))

    def positions(self) -> dict[str, float]:
        """Bits per character by characters of context."""
        rows = csv.DictReader(self.text("reports/evaluate/positions.csv").splitlines())
        return {row["context"]: float(row["bits"]) for row in rows}

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
