"""The tracker that a command holds while it works: writes the journal, delivers beside it.

Nothing that happens to MLflow stops or slows the work: a failed delivery costs one warning, and
what is missing stays in the journal for `tinyllm sync`.
"""

import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tinyllm.config.runtime import TrackingConfig
from tinyllm.errors import Interrupted
from tinyllm.logger import get_logger
from tinyllm.tracking.delivery import Delivery
from tinyllm.tracking.journal import Journal
from tinyllm.tracking.lineage import environment_tags, experiment_tags, git_patch, git_tags
from tinyllm.tracking.store import working_folder

_INTERVAL = 2.0
_LONGEST_PAUSE = 60.0
_LAST_CHANCE = 60.0
_log = get_logger(__name__)


def journal_folder() -> Path:
    """Where the journals of all runs are kept."""
    return working_folder() / "journal"


class Tracker:
    """Records one run. Used as a context manager; with tracking off it does nothing."""

    def __init__(self, fingerprint: str, config: TrackingConfig, *, stage: str) -> None:
        """Prepare to record the run of a training.

        Args:
            fingerprint: the train stage's; every stage that works on its model gives the same.
            config: experiment and registry, or tracking off.
            stage: which stage records; only `train` opens and closes the run.
        """
        self._config = config
        self._enabled = config.tracking
        self._stage = stage
        self._journal = Journal(journal_folder(), fingerprint)
        self._delivery = Delivery(self._journal)
        self._done = threading.Event()
        self._worker = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._warned = False

    def start(self, name: str, params: Mapping[str, Any]) -> None:
        """Open the run, or attach to it: name, params and where it comes from."""
        patch = git_patch()
        tags = {**git_tags(patch), **environment_tags(), **experiment_tags()}
        self._add(
            "run",
            stage=self._stage,
            experiment=self._config.experiment,
            name=name,
            params={key: str(value) for key, value in params.items()},
            tags=tags,
        )
        if patch:
            self._keep_bytes("uncommitted.patch", patch, f"lineage/{self._stage}")
        for file in ("params.yaml", "dvc.lock"):
            if Path(file).is_file():
                self.text(Path(file).read_text(encoding="utf-8"), f"lineage/{self._stage}/{file}")
        if self._stage == "train":
            self._add("status", value="RUNNING")

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Record a point of several curves."""
        if self._enabled:
            self._journal.add_metrics(step, values)

    def figures(self, step: int, values: Mapping[str, float]) -> None:
        """Record figures that are not a curve; recorded again, the last ones count."""
        self._add("figures", step=step, values=dict(values))

    def text(self, text: str, file: str) -> None:
        """Record a text as an artifact."""
        self._add("text", text=text, file=file)

    def artifact(self, path: Path, folder: str) -> None:
        """Record a file as an artifact."""
        if self._enabled:
            self._add("artifact", path=self._journal.keep(path), folder=folder)

    def dataset(self, name: str, source: Path, digest: str, context: str) -> None:
        """Record a data set that the run reads."""
        self._add(
            "dataset", name=name, source=str(source.resolve()), digest=digest, context=context
        )

    def checkpoint(
        self, folder: Path, sha256: str, step: int, metrics: Mapping[str, float]
    ) -> None:
        """Record a checkpoint as a logged model."""
        if self._enabled:
            self._add(
                "checkpoint",
                name="checkpoint",
                path=self._journal.keep(folder),
                sha256=sha256,
                step=step,
                metrics=dict(metrics),
            )

    def export(self, folder: Path, sha256: str, step: int, test: Mapping[str, Any]) -> None:
        """Register an exported model, with its figure on a test split."""
        if self._enabled:
            self._add(
                "export",
                name="export",
                registered_model=self._config.registered_model,
                path=self._journal.keep(folder),
                sha256=sha256,
                step=step,
                test_fingerprint=test["fingerprint"],
                bits_per_character=test["bits_per_character"],
            )

    def __enter__(self) -> Self:
        """Start to deliver in the background."""
        if self._enabled:
            self._worker.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the run if this stage opened it, and deliver what is left."""
        if not self._enabled:
            return
        if self._stage == "train":
            killed = isinstance(error, Interrupted | KeyboardInterrupt)
            self._add(
                "status", value="FINISHED" if kind is None else "KILLED" if killed else "FAILED"
            )
        self._done.set()
        self._worker.join(_LAST_CHANCE)
        if self._worker.is_alive():
            self._warn("it does not answer")

    def _keep_bytes(self, name: str, data: bytes, folder: str) -> None:
        if self._enabled:
            self._add("artifact", path=self._journal.keep_bytes(name, data), folder=folder)

    def _add(self, kind: str, **details: Any) -> None:
        if self._enabled:
            self._journal.add(kind, **details)

    def _work(self) -> None:
        pause = _INTERVAL
        while True:
            last = self._done.wait(pause)
            try:
                self._delivery.deliver()
                pause = _INTERVAL
            except Exception as error:
                self._warn(" ".join(str(error).split())[:200])
                pause = min(pause * 2, _LONGEST_PAUSE)
            if last:
                return

    def _warn(self, reason: str) -> None:
        if self._warned:
            return
        self._warned = True
        _log.warning(
            "MLflow at %s has not got everything of this run (%s). Nothing is lost: "
            "'tinyllm sync' delivers it when the store is back.",
            self._delivery.uri,
            reason,
        )
