"""MLflow's pages for the README: the comparison of three runs, and a model's version."""

import contextlib
import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from selenium import webdriver

from docs.browser import chromium, photograph, wait_for

STEPS = 300
_EXPERIMENT = "tinyllm"
# MLflow's settings: the menu for model training, and no automatic assistant
_SETTINGS = {
    "mlflow.workflowType_v1": "machine_learning",
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": True,
    "mlflow.assistant.panelOpen_v1": False,
}
_VIEW = "readme"


@contextlib.contextmanager
def serving(store: str) -> Iterator[str]:
    """Serve MLflow's pages for a store; yields their address."""
    _share_view(MlflowClient(store))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["mlflow", "server", "--backend-store-uri", store, "--port", str(port)]
    with subprocess.Popen([*command, "--workers", "1"], stderr=subprocess.DEVNULL) as server:
        try:
            _wait(f"http://127.0.0.1:{port}/health")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def photograph_comparison(address: str, picture: Path) -> None:
    """Three runs with their parallel coordinates and curves."""
    experiment = MlflowClient(address).get_experiment_by_name(_EXPERIMENT).experiment_id
    page = f"/experiments/{experiment}/runs?compareRunsMode=CHART&viewStateShareKey={_VIEW}"
    with _open(address, page, 1500, 760) as driver:
        wait_for(driver, lambda d: len(d.find_elements("css selector", ".js-plotly-plot")) >= 2)
        wait_for(driver, lambda d: d.find_elements("css selector", ".parcoords"))
        _hide(driver, ".modebar")  # buttons that appear under the mouse
        time.sleep(5)  # curves are fetched after their axes are drawn
        photograph(driver, picture)


def photograph_version(address: str, picture: Path) -> None:
    """The champion's page: its alias, description and tags."""
    version = MlflowClient(address).get_model_version_by_alias(_EXPERIMENT, "champion").version
    with _open(address, f"/models/{_EXPERIMENT}/versions/{version}", 1500, 1000) as driver:
        wait_for(driver, lambda d: "champion" in d.find_element("tag name", "body").text)
        time.sleep(3)
        photograph(driver, picture)


def _share_view(client: MlflowClient) -> None:
    """Save the charts of the picture as a view of the experiment."""
    experiment = client.get_experiment_by_name(_EXPERIMENT)
    view: dict[str, Any] = {
        "orderByKey": "metrics.`test_bits_per_character`",
        "orderByAsc": True,
        "hideEmptyCharts": True,
        "compareRunSections": [
            {"uuid": "s", "name": "Comparison", "display": True, "isReordered": True}
        ],
        "compareRunCharts": [
            {
                "type": "PARALLEL",
                "selectedParams": ["train.learning_rate"],
                "selectedMetrics": ["val_loss", "test_bits_per_character"],
                "showAllRuns": False,
                **_chart("parallel"),
            },
            *(_curve(key) for key in ("train_loss", "val_loss")),
        ],
    }
    tag = f"mlflow.sharedViewState.{_VIEW}"
    client.set_experiment_tag(experiment.experiment_id, tag, json.dumps(view))


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


@contextlib.contextmanager
def _open(address: str, page: str, width: int, height: int) -> Iterator[webdriver.Chrome]:
    with chromium(width, height) as driver:
        driver.get(f"{address}/health")
        for key, value in _SETTINGS.items():
            driver.execute_script(
                "localStorage.setItem(arguments[0], arguments[1])", key, json.dumps(value)
            )
        driver.get(f"{address}/#{page}")
        yield driver


def _hide(driver: webdriver.Chrome, selector: str) -> None:
    style = f"{selector} {{ display: none !important }}"
    driver.execute_script(
        "document.head.appendChild(document.createElement('style')).textContent = arguments[0]",
        style,
    )


def _wait(address: str) -> None:
    for _ in range(240):
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=1):
            return
        time.sleep(0.5)
    raise SystemExit("MLflow did not start")
