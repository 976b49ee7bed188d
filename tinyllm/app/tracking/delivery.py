"""From the journal to MLflow, each event exactly once however often delivery is interrupted."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock

from tinyllm.app.logger import get_logger
from tinyllm.app.tracking.journal import Event, Journal, make_private
from tinyllm.app.tracking.lineage import CHILD_TAG
from tinyllm.app.tracking.note import NOTE_TAG
from tinyllm.app.tracking.registry import log_checkpoint, register_export
from tinyllm.app.tracking.store import connect, experiment_id, tracking_uri

FINGERPRINT_TAG = "tinyllm.fingerprint"
_BATCH = 1000
_log = get_logger(__name__)


class Delivery:
    """Brings one journal to one store. Every method raises whatever MLflow raises."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.uri = tracking_uri()
        self._client: Any = None
        self._delivered_steps: dict[str, int] = {}

    def deliver(self) -> str | None:
        """Send everything that is pending; return the run's id, None while nothing was sent."""
        make_private(self.journal.path.parent)
        with FileLock(self.journal.path.with_suffix(".lock")):
            self.journal.close_to_others()
            state = self._confirmed_state()
            if state["run_id"] is None and not self._open_first(state):
                return None
            for events, offset in self._batches(state["offset"]):
                if self._client is None:
                    self._client = connect(self.uri)
                if events[0]["kind"] == "metrics":
                    self._send_metrics(state["run_id"], events)
                elif events[0]["kind"] == "run":
                    self._open_run(state, events[0])
                else:
                    self._send(state, events[0])
                state["offset"] = offset
                self.journal.save_state(self.uri, state)
                if file := events[0].get("path"):
                    self.journal.forget(file)
            return state["run_id"]  # type: ignore[no-any-return]

    def _confirmed_state(self) -> dict[str, Any]:
        """What has been delivered; nothing to a store that is new or does not know the run."""
        if self._client is not None or not self.journal.pending(self.uri):
            return self.journal.state(self.uri)
        # before the state is read: making a store anew changes it
        self._client = connect(self.uri)
        from mlflow.exceptions import MlflowException

        state = self.journal.state(self.uri)
        if state["run_id"] is not None:
            try:
                self._client.get_run(state["run_id"])
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return {"offset": 0, "run_id": None}
        return state

    def _batches(self, offset: int) -> Iterator[tuple[list[Event], int]]:
        """Pending events one by one, but metrics that follow each other together."""
        metrics: list[Event] = []
        for event, end in self.journal.events(offset):
            if metrics and (event["kind"] != "metrics" or len(metrics) == _BATCH):
                yield metrics, offset
                metrics = []
            if event["kind"] == "metrics":
                metrics.append(event)
            else:
                yield [event], end
            offset = end
        if metrics:
            yield metrics, offset

    def _open_first(self, state: dict[str, Any]) -> bool:
        """Open the run by the first event that says which; a crash may have torn an earlier one."""
        opening = next((e for e, _ in self.journal.events() if e["kind"] == "run"), None)
        if opening is not None:
            self._client = self._client or connect(self.uri)
            self._open_run(state, opening)
        return opening is not None

    def _open_run(self, state: dict[str, Any], event: Event) -> None:
        """Find the run of this fingerprint, or create it, and bring its tags up to date."""
        from mlflow.entities import Param, RunTag

        client = self._client
        experiment = experiment_id(client, event["experiment"])
        tags = {FINGERPRINT_TAG: self.journal.fingerprint, **event.get("tags", {})}
        run = self._only_run(experiment)
        if run is None:
            # only now: what people write there later is theirs
            described = {**tags, NOTE_TAG: event.get("note", "")}
            created = client.create_run(
                experiment, start_time=event["time"], tags=described, run_name=event.get("name")
            )
            run = self._only_run(experiment) or created
        trained_here = any(other["kind"] == "status" for other, _ in self.journal.events())
        if run.info.status == "RUNNING" and not trained_here and event["stage"] != "train":
            # trained elsewhere: nobody will come to end it
            client.set_terminated(run.info.run_id, end_time=event["time"])
        if run.data.tags.get(CHILD_TAG):
            # who trained it first keeps it, though another sweep may come to the same point
            tags = {key: value for key, value in tags.items() if key not in (CHILD_TAG, "sweep")}
        run_id = str(run.info.run_id)
        known = run.data.params
        params = [Param(k, str(v)) for k, v in event.get("params", {}).items() if k not in known]
        client.log_batch(run_id, params=params, tags=[RunTag(k, v) for k, v in tags.items()])
        state.update(experiment=experiment, run_id=run_id)

    def _only_run(self, experiment: str) -> Any:
        """The run of this fingerprint, or None.

        A server that created a run and whose answer was lost is asked a second time and creates
        another. Of such twins the oldest stays; those that never got a point are deleted.
        """
        runs = self._client.search_runs(
            [experiment],
            f"tags.`{FINGERPRINT_TAG}` = '{self.journal.fingerprint}'",
            order_by=["attributes.start_time ASC", "attributes.run_id ASC"],
        )
        with_points = [run for run in runs if run.data.metrics]
        kept = next(iter(with_points or runs), None)
        for run in runs:
            if run is not kept and not run.data.metrics:
                self._client.delete_run(run.info.run_id)
        return kept

    def _send(self, state: dict[str, Any], event: Event) -> None:
        client = self._client
        if "path" in event and not Path(event["path"]).exists():
            _log.warning("%s went to another store and is not here.", event["path"])
            return
        run_id, experiment = state["run_id"], state["experiment"]
        match event["kind"]:
            case "status" if event["value"] == "RUNNING":
                client.update_run(run_id, status="RUNNING")
            case "status":
                client.set_terminated(run_id, event["value"], end_time=event["time"])
            case "artifact":
                client.log_artifact(run_id, event["path"], event["folder"])
            case "figures":
                self._send_figures(run_id, event)
            case "text":
                client.log_text(run_id, event["text"], event["file"])
            case "dataset":
                self._log_dataset(run_id, event)
            case "checkpoint":
                log_checkpoint(client, experiment, run_id, event)
            case "export":
                register_export(client, experiment, run_id, event)

    def _send_metrics(self, run_id: str, events: list[Event]) -> None:
        """Send points that the store has not got, in batches of at most a thousand."""
        from mlflow.entities import Metric

        points = [
            Metric(key, value, event["time"], event["step"])
            for event in events
            for key, value in event["values"].items()
            if event["step"] > self._last_delivered(run_id, key)
        ]
        for first in range(0, len(points), _BATCH):
            self._client.log_batch(run_id, metrics=points[first : first + _BATCH])
        for point in points:
            self._delivered_steps[point.key] = point.step

    def _send_figures(self, run_id: str, event: Event) -> None:
        """Send figures that are not a curve: the last ones count, equal ones are not repeated."""
        from mlflow.entities import Metric

        known = self._client.get_run(run_id).data.metrics
        points = [
            Metric(key, value, event["time"], event["step"])
            for key, value in event["values"].items()
            if known.get(key) != value
        ]
        self._client.log_batch(run_id, metrics=points)

    def _last_delivered(self, run_id: str, key: str) -> int:
        """The last step of a curve in the store: what an interrupted delivery got through."""
        if key not in self._delivered_steps:
            history = self._client.get_metric_history(run_id, key)
            self._delivered_steps[key] = max((point.step for point in history), default=-1)
        return self._delivered_steps[key]

    def _log_dataset(self, run_id: str, event: Event) -> None:
        from mlflow.data.dataset_source_registry import resolve_dataset_source
        from mlflow.data.meta_dataset import MetaDataset
        from mlflow.entities import DatasetInput, InputTag

        source = resolve_dataset_source(event["source"])
        dataset = MetaDataset(source, name=event["name"], digest=event["digest"][:36])
        tags = [InputTag("mlflow.data.context", event["context"])]
        entity = dataset._to_mlflow_entity()  # noqa: SLF001 - the public way needs an active run
        self._client.log_inputs(run_id, [DatasetInput(entity, tags)])
