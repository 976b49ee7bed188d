"""Checkpoints as logged models, exports as versions of a registered model, and its champion."""

from pathlib import Path
from typing import Any

from tinyllm.errors import TinyLLMError
from tinyllm.tracking.store import connect

CHAMPION = "champion"
WEIGHTS_TAG, SPLIT_TAG, BITS_TAG = "weights.sha256", "test.fingerprint", "test.bits_per_character"
_REGISTRY_SCHEMES = ("models:/", "runs:/")


def locate_model(source: str | Path) -> Path:
    """The folder of a model that lies in a folder, or in the registry and is fetched.

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
    connect()
    import mlflow  # noqa: PLC0415 - see store.connect
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    try:
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri))
    except (MlflowException, OSError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise TinyLLMError(
            f"Cannot open {uri}: {reason}; 'make ui' lists the models that are there."
        ) from None


def log_checkpoint(client: Any, experiment: str, run_id: str, event: dict[str, Any]) -> None:
    """Record a checkpoint as a logged model of its run, at its step, with its metrics."""
    model_id = _log_model(client, experiment, run_id, event)
    for key, value in event["metrics"].items():
        client.log_metric(run_id, key, value, event["time"], event["step"], model_id=model_id)


def register_export(client: Any, experiment: str, run_id: str, event: dict[str, Any]) -> None:
    """Register an export, once for distinct weights, and crown the best on its test split."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - see store.connect

    name = event["registered_model"]
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    versions = client.search_model_versions(f"name = '{name}'", max_results=10_000)
    known = [version for version in versions if version.tags.get(WEIGHTS_TAG) == event["sha256"]]
    tags = {
        WEIGHTS_TAG: event["sha256"],
        SPLIT_TAG: event["test_fingerprint"],
        BITS_TAG: str(event["bits_per_character"]),
    }
    if known:
        for key, value in tags.items():
            client.set_model_version_tag(name, known[0].version, key, value)
    else:
        model_id = _log_model(client, experiment, run_id, event)
        source = f"models:/{model_id}"
        client.create_model_version(name, source, run_id, tags=tags, model_id=model_id)
    crown_champion(client, name, event["test_fingerprint"])


def crown_champion(client: Any, name: str, test_fingerprint: str) -> None:
    """Give the alias `champion` to the best version on this test split; ties go to the oldest.

    Figures on another text cannot be compared, so the champion is always that of the text that
    was exported last.
    """
    versions = [
        version
        for version in client.search_model_versions(f"name = '{name}'", max_results=10_000)
        if version.tags.get(SPLIT_TAG) == test_fingerprint
    ]
    best = min(versions, key=lambda version: (float(version.tags[BITS_TAG]), int(version.version)))
    client.set_registered_model_alias(name, CHAMPION, best.version)


def _log_model(client: Any, experiment: str, run_id: str, event: dict[str, Any]) -> str:
    """Make a logged model of a folder, unless there is one; return its id."""
    from mlflow.entities import LoggedModelOutput  # noqa: PLC0415 - see store.connect

    known = _find_logged_model(client, experiment, event)
    if known is not None:
        return known
    folder = Path(event["path"])
    model = client.create_logged_model(
        experiment,
        name=event["name"],
        source_run_id=run_id,
        tags={WEIGHTS_TAG: event["sha256"]},
        params={"step": str(event["step"])},
        model_type="character-language-model",
    )
    client.log_model_artifacts(model.model_id, str(folder))
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, event["step"])])
    client.finalize_logged_model(model.model_id, "READY")
    return str(model.model_id)


def _find_logged_model(client: Any, experiment: str, event: dict[str, Any]) -> str | None:
    """The whole logged model of these weights; one whose upload broke off does not count."""
    found = client.search_logged_models(
        [experiment], filter_string=f"tags.`{WEIGHTS_TAG}` = '{event['sha256']}'"
    )
    whole = (m for m in found if m.name == event["name"] and m.status.value == "READY")
    return next((str(model.model_id) for model in whole), None)
