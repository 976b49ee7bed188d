"""Checkpoints as logged models, exports as versions of a registered model."""

import atexit
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tinyllm.app.tracking.champion import (
    BITS_TAG,
    SPLIT_TAG,
    describe_standing,
    find_versions,
    judge,
    one_at_a_time,
)
from tinyllm.app.tracking.reasons import explained
from tinyllm.app.tracking.store import connect_to_read

WEIGHTS_TAG = "weights.sha256"
# the limit of MLflow's column
_LONGEST_DESCRIPTION = 5000
_ABOUT = """\
Character-level language models, a version for each distinct weights. The alias `champion` is the
best on its test text, `candidate` the newest other one; `tinyllm history` shows past champions and
why they were promoted, `tinyllm promote` and `tinyllm rollback` change the champion.
"""
_REGISTRY_SCHEMES = ("models:/", "runs:/")


def locate_model(source: str | Path) -> Path:
    """The folder of a model, which is fetched first if `source` is in the registry.

    Raises:
        TinyLLMError: the registry has no such model or cannot be reached.
    """
    if str(source).startswith(_REGISTRY_SCHEMES):
        return download_model(str(source))
    return Path(source)


def download_model(uri: str) -> Path:
    """Fetch a registered or logged model and return its local folder.

    Raises:
        TinyLLMError: the registry has no such model or cannot be reached.
    """
    connect_to_read()
    import mlflow

    with explained(
        f"Cannot open {uri}",
        "; 'tinyllm sync' brings back what is lost, and 'make ui' lists what is there",
    ):
        try:
            return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri))
        except PermissionError:
            # MLflow writes into the folder of a model that it finds on this machine
            copy = tempfile.TemporaryDirectory(prefix="tinyllm-")
            atexit.register(copy.cleanup)
            return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=copy.name))


def log_checkpoint(client: Any, experiment: str, run_id: str, event: dict[str, Any]) -> None:
    """Record a checkpoint as a logged model of its run, at its step, with its metrics."""
    model_id = _log_model(client, experiment, run_id, event)
    known = {metric.key for metric in client.get_logged_model(model_id).metrics or ()}
    for key, value in event["metrics"].items():
        if key in known:
            continue
        client.log_metric(run_id, key, value, event["time"], event["step"], model_id=model_id)


def register_export(client: Any, experiment: str, run_id: str, event: dict[str, Any]) -> str:
    """Register an export, once for distinct weights, and compare it with the champion.

    Returns:
        A sentence: which version it is, and whether it is champion.
    """
    name = event["registered_model"]
    _open_registered_model(client, name)
    tags = {
        **event.get("tags", {}),
        WEIGHTS_TAG: event["sha256"],
        SPLIT_TAG: event["test_fingerprint"],
        BITS_TAG: str(event["bits_per_character"]),
    }
    description = shorten(event.get("description", ""))
    known = _find_version(client, name, event["sha256"])
    if known is None:
        model_id = _log_model(client, experiment, run_id, event)
    else:
        model_id = known.source.removeprefix("models:/")
        _upload_again(client, client.get_logged_model(model_id), event)
    with one_at_a_time():
        known = _find_version(client, name, event["sha256"])
        if known:
            for key, value in tags.items():
                client.set_model_version_tag(name, known.version, key, value)
            if description and description != known.description:
                client.update_model_version(name, known.version, description)
        else:
            source = f"models:/{model_id}"
            known = client.create_model_version(
                name, source, run_id, tags=tags, description=description, model_id=model_id
            )
        margin = event.get("margin", 0.0)
        bits = float(event["bits_per_character"])
        judge(client, name, known.version, event["test_fingerprint"], bits, margin)
        return describe_standing(client, name, known.version, margin)


def shorten(card: str, longest: int = _LONGEST_DESCRIPTION) -> str:
    """A model card without as many of its last sections as it takes to fit into the registry."""
    note = "\n\n*The whole card is README.md among the version's files.*\n"
    if len(card) <= longest:
        return card
    sections = card.split("\n## ")
    while len(sections) > 1 and len("\n## ".join(sections)) + len(note) > longest:
        sections.pop()
    return "\n## ".join(sections)[: longest - len(note)].rstrip() + note


def _open_registered_model(client: Any, name: str) -> None:
    """Create the registered model, or add a missing description."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name, description=_ABOUT)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        if not client.get_registered_model(name).description:
            client.update_registered_model(name, _ABOUT)


def _find_version(client: Any, name: str, weights: str) -> Any | None:
    versions = find_versions(client, name)
    return next((one for one in versions if one.tags.get(WEIGHTS_TAG) == weights), None)


def _log_model(client: Any, experiment: str, run_id: str, event: dict[str, Any]) -> str:
    """Log a folder as a model, unless that was done before; return the model's id."""
    from mlflow.entities import LoggedModelOutput

    known = find_logged_model(client, experiment, run_id, event)
    if known is not None:
        _upload_again(client, known, event)
        return str(known.model_id)
    model = client.create_logged_model(
        experiment,
        name=event["name"],
        source_run_id=run_id,
        tags={WEIGHTS_TAG: event["sha256"]},
        params={"step": str(event["step"])},
        model_type="character-language-model",
    )
    _upload(client, model.model_id, event)
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, event["step"])])
    client.finalize_logged_model(model.model_id, "READY")
    return str(model.model_id)


def find_logged_model(
    client: Any, experiment: str, run_id: str, event: dict[str, Any]
) -> Any | None:
    """A run's logged model of these weights; one with an incomplete upload does not count."""
    found = client.search_logged_models(
        [experiment], filter_string=f"tags.`{WEIGHTS_TAG}` = '{event['sha256']}'"
    )
    return next(
        (
            model
            for model in found
            if (model.name, model.source_run_id) == (event["name"], run_id)
            and model.status.value == "READY"
        ),
        None,
    )


def is_gone(location: str) -> bool:
    """Whether a place of files is on this machine, and nothing is there."""
    parts = urlsplit(location)
    return parts.scheme in ("", "file") and not Path(unquote(parts.path)).exists()


def _upload(client: Any, model_id: str, event: dict[str, Any]) -> None:
    client.log_model_artifacts(model_id, str(event["path"]))
    if lineage := event.get("lineage"):
        # MLflow takes what is in a folder, and this folder is to be there itself
        client.log_model_artifacts(model_id, str(lineage.parent))


def _upload_again(client: Any, model: Any, event: dict[str, Any]) -> None:
    """Restore the files of a model if they were deleted."""
    if event["path"] is not None and is_gone(model.artifact_location):
        _upload(client, model.model_id, event)
