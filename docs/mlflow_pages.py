"""MLflow's pages as `make ui` shows them: the list of runs, their comparison, a model's version."""

import contextlib
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from selenium import webdriver
from selenium.common.exceptions import (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    StaleElementReferenceException,
)
from selenium.webdriver.common.by import By

from docs.browser import chromium, photograph, wait_for
from tests.project import clean_environment

_ROW = ".ag-center-cols-container .ag-row"
# a page that is still being drawn
_NOT_YET = (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    StaleElementReferenceException,
)
_TO_CHARTS = "label:has(input[name=runs-view-mode][value=CHART])"


@contextlib.contextmanager
def serving(folder: Path, port: int) -> Iterator[str]:
    """Serve the runs of a project as `make ui` does; yields the address that it prints.

    Raises:
        RuntimeError: it ended without one.
    """
    command = [sys.executable, "-m", "tinyllm.app.ui", str(port)]
    environment = clean_environment() | {"DVC_ROOT": str(folder)}
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as server:
        try:
            yield _printed_address(server)
        finally:
            server.terminate()


def _printed_address(server: subprocess.Popen[bytes]) -> str:
    for line in server.stdout or ():
        if found := re.match(r"Runs: (\S+)", line.decode()):
            return found[1]
    raise RuntimeError("make ui ended before it had printed an address")


@contextlib.contextmanager
def opened(address: str, width: int = 1500, height: int = 760) -> Iterator[webdriver.Chrome]:
    """A browser that opens the address for the first time, with the runs on show."""
    with chromium(width, height) as driver:
        driver.get(address)
        wait_for(driver, lambda d: len(d.find_elements(By.CSS_SELECTOR, _ROW)) > 1)
        yield driver


def to_comparison(driver: webdriver.Chrome) -> None:
    """Click to the charts of the runs on show, and wait for them."""
    driver.find_element(By.CSS_SELECTOR, _TO_CHARTS).click()
    wait_for(driver, lambda d: d.find_elements(By.CSS_SELECTOR, ".parcoords"))
    wait_for(driver, lambda d: len(d.find_elements(By.CSS_SELECTOR, ".js-plotly-plot")) >= 2)


def to_champion(driver: webdriver.Chrome, model: str = "tinyllm") -> None:
    """Click to the registered model, and to its version that is champion."""
    version = "//*[@role='row'][.//*[contains(., 'champion')]]//a[starts-with(., 'Version ')]"
    for link in ("//a[.='Model registry']", f"//a[@href='#/models/{model}']", version):
        _click(driver, link)
    wait_for(driver, lambda d: "Source Run" in d.find_element(By.TAG_NAME, "body").text)


def _click(driver: webdriver.Chrome, path: str) -> None:
    """Click the last link at an XPath as soon as it is there, and stays."""

    def is_clicked(driver: webdriver.Chrome) -> bool:
        for link in driver.find_elements(By.XPATH, path)[-1:]:
            with contextlib.suppress(*_NOT_YET):
                driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", link)
                link.click()
                return True
        return False

    wait_for(driver, is_clicked)


# how to get to the page of a picture
PAGES: dict[str, Callable[[webdriver.Chrome], None]] = {
    "runs": lambda _: None,
    "compare": to_comparison,
    "model": to_champion,
}


def photograph_pages(address: str, pictures: dict[str, Path]) -> None:
    """Take the pictures of these names, each to its place."""
    for name, picture in pictures.items():
        with opened(address, height=520 if name == "runs" else 760) as driver:
            PAGES[name](driver)
            _hide(driver, ".modebar")  # buttons that appear under the mouse
            time.sleep(5)  # curves are fetched after their axes are drawn
            photograph(driver, picture)


def _hide(driver: webdriver.Chrome, selector: str) -> None:
    style = f"{selector} {{ display: none !important }}"
    driver.execute_script(
        "document.head.appendChild(document.createElement('style')).textContent = arguments[0]",
        style,
    )
