"""A browser that cannot reach anything, and a model to show in it."""

import pytest

from tests.playground import Browser, open_chromium, random_checkpoint


@pytest.fixture(scope="module")
def random():
    """A model with random weights, odd sizes and a short window."""
    return random_checkpoint()


@pytest.fixture(scope="module")
def driver():
    driver = open_chromium()
    yield driver
    driver.quit()


@pytest.fixture
def browser(driver, tmp_path):
    yield Browser(driver, tmp_path)
    assert driver.get_log("browser") == []
