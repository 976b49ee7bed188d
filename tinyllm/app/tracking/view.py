"""The view that MLflow's page opens on: the best run first, what differs, and a comparison.

MLflow keeps named views in tags of the experiment, so everyone who uses the store has this one, in
the list "Views" above the runs. It follows the runs until somebody changes or deletes it there.
"""

import contextlib
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from tinyllm.app.tracking.differences import telling
from tinyllm.app.tracking.lineage import PARENT_TAG

NAME, KEY = "Best first", "tinyllm-best-first"
VIEW_TAG = f"mlflow.sharedViewState.{KEY}"
# without it MLflow takes every experiment for one about agents
KIND = {"mlflow.experimentKind": "custom_model_development"}
# tag of a run whose model is champion
CHAMPION_TAG = "champion"
# says that there was a view, so that a deleted one stays deleted
_MADE_TAG = "tinyllm.view"
# kept by us in the view; MLflow drops it from one that somebody changes
_SEAL = "seal"
# of the newest runs; more of them make no other columns
_RUNS = 100
_MOST_PARAMS, _MOST_AXES = 10, 6
_SECTION = {
    "uuid": "s",
    "name": "Comparison",
    "display": True,
    "isReordered": True,
    "columns": 2,
    "cardHeight": 340,
}
_TEST, _VAL = "test_bits_per_character", "val_bits_per_character"
# in pixels: of columns, and of a character of a head with what is beside the text
_WIDTHS = {"attributes.`Run Name`": 190, "attributes.`Dataset`": 190}
_CHARACTER, _PADDING = 6.9, 26


def page_of(experiment: str) -> str:
    """The place of the view in MLflow's page, to follow the `/` after an address."""
    return (
        f"#/experiments/{quote(experiment)}/runs?workflowType=machine_learning"
        f"&viewStateShareKey={KEY}"
    )


def keep_view(client: Any, experiment: str) -> None:
    """Make the view of an experiment, or let it follow the runs.

    Whoever may not change the experiment's tags goes without.
    """
    from mlflow.exceptions import MlflowException

    with contextlib.suppress(MlflowException):
        tags = client.get_experiment(experiment).tags
        for key in KIND.keys() - tags.keys():
            client.set_experiment_tag(experiment, key, KIND[key])
        current = _read(tags.get(VIEW_TAG))
        if _is_the_users(tags, current):
            return
        found = client.search_runs([experiment], max_results=_RUNS)
        runs = [dict(run.data.params) for run in found if PARENT_TAG not in run.data.tags]
        state = json.dumps(_state(telling(runs)))
        if current.get("state") != state:
            client.set_experiment_tag(experiment, VIEW_TAG, _sealed(state, current))
        if _MADE_TAG not in tags:
            client.set_experiment_tag(experiment, _MADE_TAG, NAME)


def _is_the_users(tags: Mapping[str, str], view: Mapping[str, Any]) -> bool:
    if VIEW_TAG not in tags:
        return _MADE_TAG in tags
    return view.get(_SEAL) != _seal(str(view.get("state")))


def _read(value: str | None) -> dict[str, Any]:
    try:
        found = json.loads(value or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _seal(state: str) -> str:
    return hashlib.sha256(state.encode()).hexdigest()[:16]


def _sealed(state: str, current: Mapping[str, Any]) -> str:
    now = int(time.time() * 1000)
    made = current.get("createdAt", now)
    view = {"name": NAME, "createdAt": made, "updatedAt": now, "state": state, _SEAL: _seal(state)}
    return json.dumps(view)


def _state(params: Sequence[str]) -> dict[str, Any]:
    """The view in MLflow's terms, with these parameters as columns and axes."""
    # MLflow draws an arrow beside the one it sorts by
    heads = {
        f"metrics.`{_TEST}`": f"{_TEST} =>",
        f"metrics.`{_VAL}`": _VAL,
        f"tags.`{CHAMPION_TAG}`": "tinyllm v10",
        "attributes.`Dataset`": "",
        **{f"params.`{key}`": key for key in params[:_MOST_PARAMS]},
    }
    widths = {key: round(_CHARACTER * len(head)) + _PADDING for key, head in heads.items()}
    return {
        "orderByKey": f"metrics.`{_TEST}`",
        "orderByAsc": True,
        "selectedColumns": list(heads),
        "columnOrder": ["attributes.`Run Name`", *heads],
        "columnWidths": widths | _WIDTHS,
        "hideEmptyCharts": True,
        "compareRunSections": [_SECTION],
        "compareRunCharts": _charts(params[:_MOST_AXES]),
    }


def _charts(params: Sequence[str]) -> list[dict[str, Any]]:
    # MLflow asks to configure parallel coordinates that have no parameters
    parallel = {
        "type": "PARALLEL",
        "selectedParams": list(params),
        "selectedMetrics": [_VAL, _TEST],
        "showAllRuns": False,
        **_chart("parallel"),
    }
    bars = {"type": "BAR", "metricKey": _TEST, **_chart("bars")}
    return [*([parallel] if params else []), _curve("val_bits"), _curve("train_bits"), bars]


def _curve(metric: str) -> dict[str, Any]:
    return {
        "type": "LINE",
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "xAxisKey": "step",
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "lineSmoothness": 0,
        "range": {},
        "selectedXAxisMetricKey": "",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "ignoreOutliers": False,
        "useGlobalXaxisKey": False,
        "useGlobalLineSmoothing": True,
        **_chart(metric),
    }


def _chart(uuid: str) -> dict[str, Any]:
    return {"uuid": uuid, "metricSectionId": "s", "isGenerated": False, "deleted": False}
