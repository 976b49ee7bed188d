"""What tests of the app share: deliveries without a process of their own."""

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
