"""A run that groups others: a sweep or a repetition."""

import contextlib
from collections.abc import Mapping
from typing import Any

from tinyllm.app.config import TrackingConfig
from tinyllm.app.logger import get_logger
from tinyllm.app.tracking.abandoned import recording
from tinyllm.app.tracking.delivery import Delivery
from tinyllm.app.tracking.journal import Journal
from tinyllm.app.tracking.lineage import (
    CHILD_TAG,
    PARENT_TAG,
    PARENT_VARIABLE,
    SWEEP_VARIABLE,
    git_tags,
)
from tinyllm.app.tracking.note import NOTE_TAG
from tinyllm.app.tracking.patch import git_patch
from tinyllm.app.tracking.reasons import reason
from tinyllm.app.tracking.store import journal_folder
from tinyllm.base.errors import TinyLLMError

_log = get_logger(__name__)


class ParentRun:
    """The parent run in MLflow; like every run, it has a journal."""

    def __init__(self, name: str, fingerprint: str, config: TrackingConfig) -> None:
        """Name the parent; equal fingerprints are the same run, also after a kill."""
        self._name, self._config = name, config
        self._journal = Journal(journal_folder(), fingerprint)
        self._run_id = ""
        self._recording = contextlib.ExitStack()

    def open(self, params: Mapping[str, Any]) -> None:
        """Find or create the run.

        Raises:
            TinyLLMError: the store does not respond, so children could not be linked to the run.
        """
        if not self._config.tracking:
            return
        # if this process is killed, the next command ends the run
        self._recording.enter_context(recording(self._journal))
        tags = {"sweep": self._name, PARENT_TAG: "yes", **git_tags(git_patch())}
        self._open(self._journal, tags, {key: str(value) for key, value in params.items()})
        self._journal.add("status", value="RUNNING")
        try:
            self._run_id = Delivery(self._journal).deliver() or ""
        except Exception as error:
            raise TinyLLMError(
                f"MLflow cannot open the parent run of {self._name}: {reason(error)}; repair the "
                f"store, or set tracking.tracking to false."
            ) from None

    def environment(self) -> dict[str, str]:
        """Variables that link a child to this run."""
        own = {SWEEP_VARIABLE: self._name, PARENT_VARIABLE: self._run_id}
        return own if self._run_id else {}

    def adopt(self, fingerprint: str | None, tags: Mapping[str, str]) -> None:
        """Tag a child that has ended, or that DVC restored from its cache.

        A run that another sweep trained stays with that sweep.
        """
        if not self._run_id or fingerprint is None:
            return
        journal = Journal(journal_folder(), fingerprint)
        parents = [e["tags"].get(CHILD_TAG) for e, _ in journal.events() if e["kind"] == "run"]
        if {*parents} <= {None, self._run_id}:
            self._open(journal, {"sweep": self._name, CHILD_TAG: self._run_id, **tags}, {})
            _deliver(journal)

    def close(
        self, status: str, figures: Mapping[str, float], texts: Mapping[str, str], about: str
    ) -> None:
        """Record the results, and end the run."""
        if not self._run_id:
            return
        self._open(self._journal, {"sweep": self._name, NOTE_TAG: about}, {})
        self._journal.add("figures", step=0, values=dict(figures))
        for file, text in texts.items():
            self._journal.add("text", text=text, file=file)
        self._journal.add("status", value=status)
        self._recording.close()
        _deliver(self._journal)

    def _open(self, journal: Journal, tags: Mapping[str, str], params: Mapping[str, str]) -> None:
        journal.add(
            "run",
            stage="sweep",
            experiment=self._config.experiment,
            name=self._name,
            params=dict(params),
            tags=dict(tags),
        )


def _deliver(journal: Journal) -> None:
    try:
        Delivery(journal).deliver()
    except Exception as error:
        why = reason(error)
        _log.warning("MLflow has not got everything (%s); 'tinyllm sync' delivers it.", why)
