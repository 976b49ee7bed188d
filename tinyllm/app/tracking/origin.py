"""What MLflow knows about a model's origin: commit, patch, parameters, data, weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyllm.app.tracking.lineage import LEFT_OUT_TAG
from tinyllm.app.tracking.mlflow_store import CONTEXT_TAG
from tinyllm.app.tracking.reasons import explained
from tinyllm.app.tracking.registry import WEIGHTS_TAG, download_model
from tinyllm.app.tracking.store import connect_to_read, shown_uri
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.splits import SPLITS


@dataclass(frozen=True)
class Origin:
    """Everything needed to rebuild a model and to compare the result.

    `data` maps splits to (prefixes of) their SHA-256; `export` is a folder with the registered
    model's files, None for a run; `left_out` names the changed files that are not in the patch.
    """

    run_id: str
    commit: str
    patch: bytes
    params: bytes
    data: dict[str, str]
    weights_sha256: str
    export: Path | None
    left_out: str = ""


def find_origin(source: str) -> Origin:
    """Look up a registered model (`models:/...`) or a run (by id).

    Raises:
        TinyLLMError: there is no such model or run, or it lacks something; the message names it.
    """
    client = connect_to_read()
    with explained(f"Cannot find {source} in {shown_uri()}"):
        if source.startswith("models:/"):
            version = _find_version(client, source)
            run = client.get_run(version.run_id)
            weights, export = version.tags.get(WEIGHTS_TAG), download_model(source)
        else:
            run = client.get_run(source)
            weights, export = _weights_of_run(client, run), None
        artifacts = {a.path for a in client.list_artifacts(run.info.run_id, "lineage/train")}
    commit = run.data.tags.get("git.commit")
    has_params = "lineage/train/params.yaml" in artifacts
    known = {"the commit": commit, "params.yaml": has_params, "the weights' checksum": weights}
    if missing := [name for name, value in known.items() if not value]:
        raise TinyLLMError(f"Run {run.info.run_id} did not record {' and '.join(missing)}.")
    has_patch = "lineage/train/uncommitted.patch" in artifacts
    return Origin(
        run_id=run.info.run_id,
        commit=str(commit),
        patch=_read(client, run, "uncommitted.patch") if has_patch else b"",
        params=_read(client, run, "params.yaml"),
        data={split: digest for split, (_, digest) in data_of(run).items()},
        weights_sha256=str(weights),
        export=export,
        left_out=run.data.tags.get(LEFT_OUT_TAG, ""),
    )


def _find_version(client: Any, source: str) -> Any:
    name, _, alias = source.removeprefix("models:/").partition("@")
    if alias:
        return client.get_model_version_by_alias(name, alias)
    name, _, number = name.partition("/")
    return client.get_model_version(name, number)


def _weights_of_run(client: Any, run: Any) -> str | None:
    models = [client.get_logged_model(output.model_id) for output in run.outputs.model_outputs]
    return next((model.tags[WEIGHTS_TAG] for model in models if WEIGHTS_TAG in model.tags), None)


def data_of(run: Any) -> dict[str, tuple[str, str]]:
    """The name of the text and its digest, for each split that a run read."""
    found = {}
    for item in run.inputs.dataset_inputs:
        context = next((tag.value for tag in item.tags if tag.key == CONTEXT_TAG), "")
        # runs of earlier versions have the split as the name
        split = context if context in SPLITS else item.dataset.name
        found[split] = (item.dataset.name, item.dataset.digest)
    return found


def _read(client: Any, run: Any, name: str) -> bytes:
    path = client.download_artifacts(run.info.run_id, f"lineage/train/{name}")
    return Path(path).read_bytes()
