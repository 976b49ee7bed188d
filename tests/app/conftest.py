"""What tests of the app share: deliveries in this process, and a model in two forms."""

from pathlib import Path

import pytest

from tinyllm.app.tracking.delivery import Delivery
from tinyllm.app.tracking.journal import Journal
from tinyllm.app.tracking.store import journal_folder


class SameProcess:
    """A delivery at the end and in this process, since importing MLflow anew takes seconds."""

    def __init__(self, fingerprint, stage):
        self.delivery = Delivery(Journal(journal_folder(), fingerprint))

    def finish(self, patience):
        try:
            self.delivery.deliver()
        except Exception as error:
            return str(error)
        return ""


@pytest.fixture
def same_process(monkeypatch):
    """Trackers deliver in this process."""
    monkeypatch.setattr("tinyllm.app.tracking.tracker.BackgroundDelivery", SameProcess)


@pytest.fixture(scope="session")
def export_folder(export_source, tmp_path_factory) -> Path:
    """The small model in the forms that commands and the registry open."""
    from tinyllm.formats.config import ExportConfig
    from tinyllm.formats.run import export_checkpoint

    folder = tmp_path_factory.mktemp("exports") / "export"
    config = ExportConfig(formats=["onnx", "pyfunc"], verify_with=["onnxruntime"])
    export_checkpoint(config, export_source, folder)
    return folder
