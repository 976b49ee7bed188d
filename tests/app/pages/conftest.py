"""Ten runs in a project, and Chromium to look at them."""

import shutil
from pathlib import Path

import pytest

from tests.app.conftest import SameProcess
from tests.app.pages.ten_runs import record_ten_runs


class Delivered(SameProcess):
    """A delivery in this process that must not fail."""

    def finish(self, patience):
        self.delivery.deliver()
        return ""


_TRACKER = "tinyllm.app.tracking.tracker.BackgroundDelivery"


@pytest.fixture(scope="session")
def ten_runs(tmp_path_factory, empty_store) -> Path:
    """A project with ten runs; for reading only."""
    folder = tmp_path_factory.mktemp("ten-runs")
    shutil.copyfile(empty_store, folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DVC_ROOT", str(folder))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setattr(_TRACKER, Delivered)
        record_ten_runs(folder)
    return folder


@pytest.fixture(scope="session")
def browsers():
    """`docs.browser`, where selenium, Chromium and its driver are installed."""
    reason = "needs selenium, Chromium and its driver (Debian: chromium, chromium-driver)"
    pytest.importorskip("selenium.webdriver", reason=reason)
    if not shutil.which("chromedriver"):
        pytest.skip(reason)
    from docs import browser

    return browser
