"""The tracker of a command, which writes the journal.

Another process delivers it in the background, so MLflow can neither stop nor slow the command: a
failed delivery causes one warning, and the rest stays in the journal for `tinyllm sync`.
"""

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, assert_never

from tinyllm.app.config import TrackingConfig
from tinyllm.app.logger import get_logger
from tinyllm.app.redaction import without_secrets
from tinyllm.app.tracking.abandoned import recording
from tinyllm.app.tracking.background import BackgroundDelivery, is_delivered_elsewhere
from tinyllm.app.tracking.journal import Journal
from tinyllm.app.tracking.kept import place_in_project
from tinyllm.app.tracking.lineage import (
    CONFIGURATION_TAG,
    LEFT_OUT_TAG,
    environment_tags,
    experiment_tags,
    git_tags,
)
from tinyllm.app.tracking.naming import all_params, run_name, text_name
from tinyllm.app.tracking.note import run_note
from tinyllm.app.tracking.patch import find_changes
from tinyllm.app.tracking.reasons import is_down
from tinyllm.app.tracking.store import journal_folder, shown_uri, tracking_uri
from tinyllm.base.errors import Interrupted
from tinyllm.base.events import (
    CheckpointWritten,
    DatasetRead,
    Event,
    ExportWritten,
    FileWritten,
    Measured,
    RunStarted,
    StepTaken,
    Validated,
)

# seconds that a finished command waits for the store
_PATIENCE = 10.0
# a local store needs to import MLflow here, on a machine that may be busy
_PATIENCE_WITH_SQLITE = 30.0
# folder of a run and of a registered version that records its origin
LINEAGE = "lineage"
# of MLflow's tags
_LONGEST_TAG = 5000
_log = get_logger(__name__)


class Tracker:
    """A context manager that records one run; with tracking off it does nothing."""

    def __init__(self, started: RunStarted, config: TrackingConfig) -> None:
        """Prepare to record a run; only the stage `train` opens and closes it."""
        self._started, self._config = started, config
        self._enabled = config.tracking
        self._stage = started.stage
        self._journal = Journal(journal_folder(), started.fingerprint)
        self._uri = tracking_uri()
        self._delivery: BackgroundDelivery | None = None
        self._recording = contextlib.ExitStack()
        self._lineage: dict[str, bytes] = {}
        self._text_name = ""

    def tell(self, event: Event) -> None:
        """Record an event; steps and validations arrive through `metrics`."""
        if self._enabled:
            with self._tolerant():
                self._record(event)

    def _record(self, event: Event) -> None:
        match event:
            case DatasetRead():
                self._dataset(event)
            case Measured():
                # if recorded twice, the last counts
                self._add("figures", step=event.step, values=dict(event.values))
            case FileWritten():
                self._add("artifact", folder=self._stage, **self._journal.files.keep(event.path))
            case CheckpointWritten():
                self._checkpoint(event)
            case ExportWritten():
                self._export(event)
            case RunStarted() | StepTaken() | Validated():
                pass
            case unknown:
                assert_never(unknown)

    def _start(self) -> None:
        """Open the run, or attach to it: name, params and origin."""
        params = all_params(self._started.sections)
        self._text_name = text_name(str(params.get("prepare.source", "")))
        changes = find_changes()
        patch = changes.patch
        tags = {**git_tags(patch), **environment_tags(), **experiment_tags()}
        if changes.left_out:
            tags[LEFT_OUT_TAG] = ", ".join(changes.left_out)[:_LONGEST_TAG]
        if self._started.configuration:
            tags[CONFIGURATION_TAG] = self._started.configuration
        self._lineage = {"uncommitted.patch": patch} if patch else {}
        self._add(
            "run",
            stage=self._stage,
            experiment=self._config.experiment,
            name=run_name(params),
            params={key: str(value) for key, value in params.items()},
            tags=tags,
            note=run_note(params, tags),
        )
        if patch:
            kept = self._journal.files.keep_bytes(self._lineage, self._stage)
            self._add("artifact", folder=LINEAGE, **kept)
        for file in ("params.yaml", "dvc.lock"):
            if Path(file).is_file():
                text = without_secrets(Path(file).read_text(encoding="utf-8"))
                self._lineage[file] = text.encode()
                self._add("text", text=text, file=f"{LINEAGE}/{self._stage}/{file}")
        if self._stage == "train":
            for warning in changes.warnings():
                _log.warning(warning)
            self._add("status", value="RUNNING")

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Record a point of several curves."""
        if self._enabled:
            with self._tolerant():
                self._journal.add_metrics(step, values)

    @contextlib.contextmanager
    def _tolerant(self) -> Iterator[None]:
        """Go on without a record, and warn once, if the disk takes none."""
        try:
            yield
        except OSError as error:
            self._enabled = False
            _log.warning(
                "The rest of this run is not recorded, since %s cannot be written: %s.",
                error.filename or self._journal.path,
                error.strerror or error,
            )

    def _dataset(self, event: DatasetRead) -> None:
        self._add(
            "dataset",
            name=self._text_name or event.split,
            source=place_in_project(event.path),
            digest=event.fingerprint,
            context=event.purpose,
            split=event.split,
        )

    def _checkpoint(self, event: CheckpointWritten) -> None:
        """Record a checkpoint as a logged model."""
        self._add(
            "checkpoint",
            name="checkpoint",
            **self._journal.files.keep(event.folder),
            sha256=event.sha256,
            step=event.step,
            metrics=dict(event.metrics),
        )

    def _export(self, event: ExportWritten) -> None:
        """Register an exported model, with its test result.

        Its origin is recorded in tags and in files in the version's folder `lineage`.
        """
        patch = self._lineage.get("uncommitted.patch", b"")
        self._add(
            "export",
            name="export",
            registered_model=self._config.registered_model,
            **self._journal.files.keep(event.folder),
            lineage=self._journal.files.keep_bytes(self._lineage, LINEAGE),
            sha256=event.sha256,
            step=event.step,
            test_fingerprint=event.test["fingerprint"],
            bits_per_character=event.test["bits_per_character"],
            margin=self._config.champion_margin,
            tags={**git_tags(patch), **experiment_tags(), **event.tags},
            description=event.card,
        )

    def __enter__(self) -> Self:
        """Open the run, and start to deliver in the background."""
        if self._enabled:
            try:
                with self._tolerant():
                    if self._stage == "train":
                        self._recording.enter_context(recording(self._journal))
                    self._delivery = BackgroundDelivery(self._journal.fingerprint, self._stage)
                    self._start()
            except BaseException:
                self.__exit__(*sys.exc_info())
                raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the run if this stage opened it, and deliver what is left."""
        if self._delivery is None:
            return
        with self._tolerant():
            if self._stage == "train" and self._enabled:
                killed = isinstance(error, Interrupted | KeyboardInterrupt)
                self._add(
                    "status", value="FINISHED" if kind is None else "KILLED" if killed else "FAILED"
                )
            self._recording.close()
        local = self._uri.startswith("sqlite:")
        hindrance = self._delivery.finish(_PATIENCE_WITH_SQLITE if local else _PATIENCE)
        with self._tolerant():
            if not is_delivered_elsewhere():
                self._tell_what_is_missing(hindrance or "they came too late")

    def _tell_what_is_missing(self, why: str) -> None:
        if missing := self._journal.pending(self._uri):
            _log.warning(
                "MLflow at %s has not got everything of this run, %d entries are missing (%s). "
                "Nothing is lost: 'tinyllm sync' delivers them%s.",
                shown_uri(self._uri),
                missing,
                why,
                " when the store is back" if is_down(why) else "",
            )

    def _add(self, kind: str, **details: Any) -> None:
        self._journal.add(kind, **details)
