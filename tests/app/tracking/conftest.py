"""A store with a run in it, and exports of made-up weights to register there."""

import logging
from types import SimpleNamespace

import pytest

from tinyllm.app.tracking.registry import register_export
from tinyllm.app.tracking.store import connect, experiment_id

PLAY, POEM = "a" * 64, "b" * 64


@pytest.fixture
def warnings(caplog, monkeypatch):
    """What the tracker warned of, also after a command has set up the logger."""
    logger = logging.getLogger("tinyllm.app.tracking.tracker")
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handlers", [caplog.handler])
    for name in ("propagate", "handlers", "level"):
        monkeypatch.setattr(logging.getLogger("tinyllm"), name, logger.__dict__[name])
    return caplog


@pytest.fixture
def store(workspace):
    """A client of the test's own store, a run in it, and a folder to register."""
    client = connect()
    experiment = experiment_id(client, "tinyllm")
    (workspace / "artifact").mkdir()
    (workspace / "artifact" / "weights").write_text("numbers")
    return SimpleNamespace(
        client=client,
        experiment=experiment,
        run_id=client.create_run(experiment).info.run_id,
        folder=workspace / "artifact",
    )


def export(store, weights, bits, split=PLAY, folder=None, margin=0.0, **more):
    """Register weights with a figure on a text, as the export stage's delivery does."""
    event = {
        "name": "export",
        "registered_model": "tinyllm",
        "path": str(folder or store.folder),
        "sha256": weights,
        "step": 40,
        "test_fingerprint": split,
        "bits_per_character": bits,
        "margin": margin,
        **more,
    }
    register_export(store.client, store.experiment, store.run_id, event)
