"""MLflow as a store: finds or creates runs, and sends each point and file once."""

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from tinyllm.app.tracking.entries import Event
from tinyllm.app.tracking.lineage import CHILD_TAG, PARENT_TAG
from tinyllm.app.tracking.names import name_problem, quoted
from tinyllm.app.tracking.note import NOTE_TAG
from tinyllm.app.tracking.registry import (
    find_logged_model,
    is_gone,
    log_checkpoint,
    register_export,
)
from tinyllm.app.tracking.setting import tracking_config
from tinyllm.app.tracking.store import connect, experiment_id
from tinyllm.app.tracking.view import keep_view

FINGERPRINT_TAG = "tinyllm.fingerprint"
# MLflow shows it beside the name of a data set
CONTEXT_TAG = "mlflow.data.context"
_BATCH = 1000


class MlflowStore:
    """A `Store` in MLflow. Every method may raise MLflow's exceptions."""

    def __init__(self, uri: str) -> None:
        self._client = connect(uri)
        self._delivered_steps: dict[str, int] = {}
        self.news: list[str] = []

    def knows(self, run_id: str, *, with_files: bool) -> bool:
        """See `Store`."""
        from mlflow.exceptions import MlflowException

        try:
            run = self._client.get_run(run_id)
            models = [self._client.get_logged_model(m.model_id) for m in run.outputs.model_outputs]
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False
        places = [run.info.artifact_uri] if with_files else []
        places += [model.artifact_location for model in models]
        return run.info.lifecycle_stage == "active" and not any(map(is_gone, places))

    def has(self, run_id: str, event: Event) -> bool:
        """See `Store`."""
        if event["kind"] != "artifact":
            experiment = self._experiment(run_id)
            return find_logged_model(self._client, experiment, run_id, event) is not None
        folder = event["folder"]
        known = {found.path for found in self._client.list_artifacts(run_id, folder)}
        return f"{folder}/{PurePath(event['path']).name}" in known

    def open_run(self, fingerprint: str, event: Event, *, trained_here: bool) -> str:
        """See `Store`."""
        from mlflow.entities import Param, RunTag

        client = self._client
        name = event["experiment"]
        # one that was refused once is mended in params.yaml
        valid = not name_problem(name, of_model=False)
        experiment = experiment_id(client, name if valid else tracking_config().experiment)
        tags = {FINGERPRINT_TAG: fingerprint, **self._with_parent(experiment, event)}
        run = self._only_run(experiment, fingerprint)
        if run is None:
            # only at creation: users may edit it later
            described = {**tags, NOTE_TAG: event.get("note", "")}
            created = client.create_run(
                experiment, start_time=event["time"], tags=described, run_name=event.get("name")
            )
            run = self._only_run(experiment, fingerprint) or created
        if run.info.status == "RUNNING" and not trained_here and event["stage"] != "train":
            # trained elsewhere: nothing else will end it
            client.set_terminated(run.info.run_id, end_time=event["time"])
        if run.data.tags.get(CHILD_TAG):
            # it stays with the sweep that trained it, though another may reach the same point
            tags = {key: value for key, value in tags.items() if key not in (CHILD_TAG, "sweep")}
        run_id = str(run.info.run_id)
        known = run.data.params
        params = [Param(k, str(v)) for k, v in event.get("params", {}).items() if k not in known]
        client.log_batch(run_id, params=params, tags=[RunTag(k, v) for k, v in tags.items()])
        if params:
            keep_view(client, experiment)
        return run_id

    def send(self, run_id: str, event: Event) -> None:
        """See `Store`."""
        client = self._client
        match event["kind"]:
            case "status" if event["value"] == "RUNNING":
                client.update_run(run_id, status="RUNNING")
            case "status":
                client.set_terminated(run_id, event["value"], end_time=event["time"])
            case "artifact":
                client.log_artifact(run_id, str(event["path"]), event["folder"])
            case "figures":
                self._send_figures(run_id, event)
            case "text":
                client.log_text(run_id, event["text"], event["file"])
            case "dataset":
                self._log_dataset(run_id, event)
            case "checkpoint":
                log_checkpoint(client, self._experiment(run_id), run_id, event)
            case "export":
                if name_problem(event["registered_model"], of_model=True):
                    event |= {"registered_model": tracking_config().registered_model}
                self.news.append(register_export(client, self._experiment(run_id), run_id, event))

    def send_metrics(self, run_id: str, events: Sequence[Event]) -> None:
        """See `Store`."""
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
        """Send metrics that are not a curve: the last value counts, equal ones are not repeated."""
        from mlflow.entities import Metric

        known = self._client.get_run(run_id).data.metrics
        points = [
            Metric(key, value, event["time"], event["step"])
            for key, value in event["values"].items()
            if known.get(key) != value
        ]
        self._client.log_batch(run_id, metrics=points)

    def _last_delivered(self, run_id: str, key: str) -> int:
        """The last step of a curve in the store."""
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
        # by its name alone it would be one of several with the name of the text
        tags = [
            InputTag(CONTEXT_TAG, event.get("split", event["context"])),
            InputTag("purpose", event["context"]),
        ]
        entity = dataset._to_mlflow_entity()  # noqa: SLF001 - the public way needs an active run
        self._client.log_inputs(run_id, [DatasetInput(entity, tags)])

    def _only_run(self, experiment: str, fingerprint: str) -> Any:
        """The run with this fingerprint, or None.

        If the response to a creation is lost, the retry creates another run. Of such duplicates the
        oldest stays, and those without metrics are deleted.
        """
        runs = self._client.search_runs(
            [experiment],
            f"tags.`{FINGERPRINT_TAG}` = '{fingerprint}'",
            order_by=["attributes.start_time ASC", "attributes.run_id ASC"],
        )
        with_points = [run for run in runs if run.data.metrics]
        kept = next(iter(with_points or runs), None)
        for run in runs:
            if run is not kept and not run.data.metrics:
                self._client.delete_run(run.info.run_id)
        return kept

    def _with_parent(self, experiment: str, event: Event) -> dict[str, str]:
        """The tags of a run; its parent has another id in a store that was filled anew."""
        tags = dict(event.get("tags", {}))
        if CHILD_TAG in tags and not self.knows(tags[CHILD_TAG], with_files=False):
            sweep = f"tags.sweep = {quoted(tags.get('sweep', ''))} AND tags.`{PARENT_TAG}` = 'yes'"
            parents = self._client.search_runs([experiment], sweep)
            tags |= {CHILD_TAG: parents[0].info.run_id} if parents else {}
        return tags

    def _experiment(self, run_id: str) -> str:
        return str(self._client.get_run(run_id).info.experiment_id)
