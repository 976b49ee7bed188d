"""Take the pictures that the README shows: `python docs/screenshots.py`.

Copies the plots of the last pipeline run, and photographs MLflow in headless Chromium (Debian's
packages chromium and chromium-driver, and selenium from the extra `docs`) and the playground.
Needs three finished runs in the default store to have something to compare.
"""

import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from mlflow import MlflowClient
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
STORE = f"sqlite:///{ROOT / 'mlflow.db'}"
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1500,950",
)


def main() -> None:
    """Write all pictures to docs/images."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    for source in ("train/curves.png", "evaluate/surprise.png", "evaluate/positions.png"):
        shutil.copyfile(ROOT / "reports" / source, IMAGES / Path(source).name)
    _photograph_playground()
    client = MlflowClient(STORE)
    experiment = client.get_experiment_by_name("tinyllm").experiment_id
    runs = [run.info.run_id for run in client.search_runs([experiment], max_results=3)]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["mlflow", "ui", "--backend-store-uri", STORE, "--port", str(port)]
    with subprocess.Popen(command, cwd=ROOT) as server:
        try:
            _wait(f"http://127.0.0.1:{port}/health")
            _photograph(f"http://127.0.0.1:{port}/#", experiment, runs)
        finally:
            server.terminate()


def _photograph(base: str, experiment: str, runs: list[str]) -> None:
    query = urllib.parse.urlencode(
        {"runs": json.dumps(runs), "experiments": json.dumps([experiment])}
    )
    pages = {
        "runs": f"{base}/experiments/{experiment}/runs",
        "compare": f"{base}/compare-runs?{query}",
        "model": f"{base}/models/tinyllm",
    }
    with _chromium() as driver:
        for name, address in pages.items():
            driver.get(address)
            time.sleep(8)  # the page fetches its data and draws when it has it
            driver.save_screenshot(str(IMAGES / f"{name}.png"))


def _photograph_playground() -> None:
    with _chromium() as driver:
        driver.set_window_size(1200, 900)
        driver.get((ROOT / "models/export/playground.html").as_uri())
        driver.find_element("css selector", "textarea").send_keys("DUKE ORSMUND:\n")
        driver.find_element("id", "write").click()
        while driver.find_element("id", "stop").is_enabled():
            time.sleep(0.1)
        driver.find_element("id", "show-attention").click()
        driver.find_elements("css selector", "#text .own")[140].click()
        driver.save_screenshot(str(IMAGES / "playground.png"))


@contextlib.contextmanager
def _chromium() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    for flag in _FLAGS:
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    try:
        yield driver
    finally:
        driver.quit()


def _wait(address: str) -> None:
    for _ in range(120):
        try:
            with urllib.request.urlopen(address, timeout=1):
                return
        except OSError:
            time.sleep(0.5)
    raise SystemExit("MLflow did not start")


if __name__ == "__main__":
    main()
