"""Headless Chromium for pictures of pages."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.wait import WebDriverWait

_PATIENCE = 90
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


@contextlib.contextmanager
def chromium(width: int, height: int) -> Iterator[webdriver.Chrome]:
    """A browser with a window of the given size in pixels."""
    options = webdriver.ChromeOptions()
    for flag in _FLAGS:
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    try:
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )
        yield driver
    finally:
        driver.quit()


def wait_for(driver: webdriver.Chrome, is_there: Callable[[webdriver.Chrome], object]) -> None:
    """Wait until a page shows something, or raise."""
    WebDriverWait(driver, _PATIENCE).until(is_there)


def photograph(driver: webdriver.Chrome, picture: Path) -> None:
    """Save a picture of the window."""
    picture.parent.mkdir(parents=True, exist_ok=True)
    driver.save_screenshot(str(picture))
