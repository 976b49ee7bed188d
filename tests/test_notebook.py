"""The example notebook runs from its first cell to its last."""

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT

pytestmark = pytest.mark.slow


def test_the_example_notebook_runs_and_shows_what_it_promises(monkeypatch):
    # as in the activated environment, whose Python comes first
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    notebook = nbformat.read(ROOT / "examples/notebook.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit it without outputs"
    client = NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(ROOT / "examples")}}
    )
    client.execute()
    kinds = {output.output_type for cell in notebook.cells for output in cell.get("outputs", [])}
    assert {"stream", "display_data"} <= kinds
