"""The tracker that a command holds while it works: it writes the journal.

Another process delivers beside it, so nothing that happens to MLflow stops or slows the work: a
failed delivery costs one warning, and what is missing stays in the journal for `tinyllm sync`.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tinyllm.config.runtime import TrackingConfig
from tinyllm.errors import Interrupted
from tinyllm.logger import get_logger
from tinyllm.tracking.abandoned import recording
from tinyllm.tracking.background import BackgroundDelivery
from tinyllm.tracking.journal import Journal
from tinyllm.tracking.lineage import environment_tags, experiment_tags, git_tags
from tinyllm.tracking.note import run_note
from tinyllm.tracking.patch import find_new_files, git_patch
from tinyllm.tracking.store import journal_folder, shown_uri, tracking_uri

# seconds that a finished command waits for the store
_PATIENCE = 10.0
# a store of our own is made by importing and asking MLflow, on a machine that may be busy
_PATIENCE_WITH_SQLITE = 30.0
# how many names of files a warning holds
_SHOWN = 5
# folder of a registered version that says where it comes from
LINEAGE = "lineage"
_log = get_logger(__name__)


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
        self._uri = tracking_uri()
        self._delivery: BackgroundDelivery | None = None
        self._recording = contextlib.ExitStack()
        self._lineage: dict[str, bytes] = {}

    def start(
        self, name: str, params: Mapping[str, Any], more_tags: Mapping[str, str] | None = None
    ) -> None:
        """Open the run, or attach to it: name, params and where it comes from."""
        patch = git_patch()
        tags = {**git_tags(patch), **environment_tags(), **experiment_tags(), **(more_tags or {})}
        self._lineage = {"uncommitted.patch": patch} if patch else {}
        self._add(
            "run",
            stage=self._stage,
            experiment=self._config.experiment,
            name=name,
            params={key: str(value) for key, value in params.items()},
            tags=tags,
            note=run_note(params, tags),
        )
        if patch:
            self._keep_bytes("uncommitted.patch", patch, f"lineage/{self._stage}")
        for file in ("params.yaml", "dvc.lock"):
            if Path(file).is_file():
                self._lineage[file] = Path(file).read_bytes()
                self.text(Path(file).read_text(encoding="utf-8"), f"lineage/{self._stage}/{file}")
        if self._stage == "train":
            self._tell_what_is_left_out()
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

    def export(
        self,
        folder: Path,
        sha256: str,
        step: int,
        test: Mapping[str, Any],
        *,
        tags: Mapping[str, str] | None = None,
        card: str = "",
    ) -> None:
        """Register an exported model, with its figure on a test split.

        Where it comes from is recorded as tags and, as files, in the version's folder `lineage`.
        """
        if not self._enabled:
            return
        place = Path(self._journal.keep(folder))
        (place / LINEAGE).mkdir(exist_ok=True)
        for file, content in self._lineage.items():
            (place / LINEAGE / file).write_bytes(content)
        patch = self._lineage.get("uncommitted.patch", b"")
        self._add(
            "export",
            name="export",
            registered_model=self._config.registered_model,
            path=str(place),
            sha256=sha256,
            step=step,
            test_fingerprint=test["fingerprint"],
            bits_per_character=test["bits_per_character"],
            margin=self._config.champion_margin,
            tags={**git_tags(patch), **experiment_tags(), **(tags or {})},
            description=card,
        )

    def __enter__(self) -> Self:
        """Start to deliver in the background."""
        if self._enabled:
            if self._stage == "train":
                self._recording.enter_context(recording(self._journal))
            self._delivery = BackgroundDelivery(self._journal.fingerprint, self._stage)
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
        if self._stage == "train":
            killed = isinstance(error, Interrupted | KeyboardInterrupt)
            self._add(
                "status", value="FINISHED" if kind is None else "KILLED" if killed else "FAILED"
            )
            self._recording.close()
        local = self._uri.startswith("sqlite:")
        hindrance = self._delivery.finish(_PATIENCE_WITH_SQLITE if local else _PATIENCE)
        if missing := self._journal.pending(self._uri):
            _log.warning(
                "MLflow at %s has not got everything of this run, %d entries are missing (%s). "
                "Nothing is lost: 'tinyllm sync' delivers them when the store is back.",
                shown_uri(self._uri),
                missing,
                hindrance or "they came too late",
            )

    def _tell_what_is_left_out(self) -> None:
        """Name new files that are not recorded; later stages of the run need not say it again."""
        names = find_new_files().left_out if self._enabled else []
        if names:
            shown = ", ".join(map(repr, names[:_SHOWN]))
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            _log.warning(
                "Files that git does not track stay on this machine unless they are small source "
                "files; the run does not record %s%s ('git add' those that the model is made "
                "from, ignore the others).",
                shown,
                more,
            )

    def _keep_bytes(self, name: str, data: bytes, folder: str) -> None:
        if self._enabled:
            self._add("artifact", path=self._journal.keep_bytes(name, data), folder=folder)

    def _add(self, kind: str, **details: Any) -> None:
        if self._enabled:
            self._journal.add(kind, **details)
