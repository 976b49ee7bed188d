"""Follows the training of an experiment by its journal, and judges whether it is hopeless."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyllm.app.tracking.journal import Journal
from tinyllm.base.files import rounded

# a step and the loss on the validation split after it, in nats as the run's history has it
Loss = tuple[int, float]


class Follower:
    """Reads the journal of the run inside an experiment."""

    def __init__(self, name: str, folder: Path, since: float) -> None:
        """Look for it among journals.

        Args:
            name: of the experiment.
            folder: of the journals.
            since: older ones are another's; seconds since 1970, as the folder's machine counts.
        """
        self._name, self._folder, self._since = name, folder, since
        self._journal: Journal | None = None
        self._offset = 0

    @property
    def fingerprint(self) -> str | None:
        """The run's fingerprint, once it has started."""
        return self._journal.fingerprint if self._journal else None

    def losses(self) -> list[Loss]:
        """What was validated since the last call."""
        if self._journal is None:
            self._journal = self._find()
        if self._journal is None:
            return []
        found = []
        for event, offset in self._journal.events(self._offset):
            self._offset = offset
            if event["kind"] == "metrics" and "val_loss" in event["values"]:
                found.append((int(event["step"]), rounded(event["values"]["val_loss"])))
        return found

    def _find(self) -> Journal | None:
        for path in self._folder.glob("*.jsonl"):
            if path.stat().st_mtime < self._since:
                continue
            journal = Journal(self._folder, path.stem)
            # resuming opens a run again; the last opening counts
            runs = [event for event, _ in journal.events() if event["kind"] == "run"]
            trained = [run for run in runs if run.get("stage") == "train"]
            if trained and trained[-1].get("tags", {}).get("dvc.experiment") == self._name:
                return journal
        return None


@dataclass(frozen=True)
class Judge:
    """Says when a run is hopeless, beside trials that had ended before it began.

    So the verdict depends on nothing that happens at the same time.

    Attributes:
        pruner: of Optuna.
        ended: Optuna's records of the trials.
        last_step: of a run, after which there is nothing to save.
    """

    pruner: Any
    ended: Sequence[Any]
    last_step: int

    def verdict(self, losses: Sequence[Loss]) -> int | None:
        """How many of the losses it takes to give the run up; None if it may go on."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(pruner=self.pruner)
        study.add_trials(self.ended)
        trial = study.ask()
        for count, (step, loss) in enumerate(losses, 1):
            trial.report(bits(loss), step)
            if step < self.last_step and trial.should_prune():
                return count
        return None


def bits(loss: float) -> float:
    """Bits of a loss in nats."""
    return loss / math.log(2)
