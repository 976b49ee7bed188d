"""What somebody sees who opens the address that `make ui` prints, in a real browser."""

import pytest
from click.testing import CliRunner

from tests.app.pages.ten_runs import SETTINGS, digest_of
from tests.proxy import free_port
from tinyllm.app.cli import main

pytestmark = pytest.mark.slow

# the texts of each row from left to right, the rows from top to bottom
ROWS = """
const rows = {};
for (const row of document.querySelectorAll(".ag-row")) {
  const place = row.getBoundingClientRect();
  if (place.height && row.innerText) (rows[place.top] ??= []).push([place.left, row.innerText]);
}
return Object.entries(rows).sort((a, b) => a[0] - b[0])
  .map(([_, parts]) => parts.sort((a, b) => a[0] - b[0]).map(part => part[1]).join("\\n"));
"""


@pytest.fixture(scope="module")
def server(ten_runs, browsers):
    """The address that is printed."""
    from docs.mlflow_pages import serving

    with serving(ten_runs, free_port()) as address:
        yield address


@pytest.fixture(scope="module")
def page(server):
    """The page there, opened for the first time; no test looks into the store."""
    from docs.mlflow_pages import opened

    with opened(server) as driver:
        yield driver


@pytest.fixture
def rows(page):
    return page.execute_script(ROWS)


def seen(page):
    return page.find_element("tag name", "body").text


def test_the_first_row_is_the_best_run_with_its_data_and_its_parameters(rows):
    rate, width, source, bits = min(SETTINGS, key=lambda setting: setting[3])
    first = rows[0].split("\n")
    assert f"{bits}" in first
    assert f"mine.txt ({digest_of(source)[:36]})" in first
    assert f"source={source} d_model={width} learning_rate={rate}" in first
    assert first.index("Train") == first.index(f"mine.txt ({digest_of(source)[:36]})") + 1


def test_ten_rows_are_there_from_the_best_to_the_worst_run(rows):
    bits = [next(text for text in row.split("\n") if text[:2] == "2.") for row in rows]
    assert bits == [f"{setting[3]}" for setting in sorted(SETTINGS, key=lambda one: one[3])]


def test_the_columns_are_losses_champion_data_and_what_differs(page):
    heads = page.find_elements("css selector", ".ag-header-cell")
    ordered = sorted(heads, key=lambda head: head.rect["x"])
    assert [head.text for head in ordered if head.text] == [
        "Run Name",
        "Created",
        "test_bits_per_character",
        "val_bits_per_character",
        "champion",
        "Dataset",
        "model.d_model",
        "prepare.source",
    ]


def test_the_champion_is_marked_and_nothing_else(rows):
    marked = ["tinyllm v7" in row.split("\n") for row in rows]
    assert marked == [True] + [False] * 9


def test_the_menu_is_that_for_models_and_no_assistant_is_open(page):
    text = seen(page)
    assert "Model registry" in text
    assert "How can I help" not in text


def test_a_click_leads_to_the_comparison_of_the_ten(page, rows):
    from docs.mlflow_pages import to_comparison

    to_comparison(page)
    text = seen(page)
    for title in ("Parallel Coordinates", "test_bits_per_character", "val_bits"):
        assert title in text
    assert "source=texts/mine.txt d_model=96 learning_rate=0.04" in text


def test_the_champion_shows_in_the_registry(page, rows):
    from docs.mlflow_pages import to_champion

    to_champion(page)
    text = seen(page)
    assert "Version 7" in text
    assert "champion" in text
    assert "A model of texts/mine.txt" in text


def test_the_site_of_a_server_is_that_of_its_store(server, ten_runs, tmp_path, monkeypatch):
    def rows(uri, name):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        result = CliRunner().invoke(main, ["site", "--out", str(tmp_path / name)])
        assert result.exit_code == 0, result.output
        return (tmp_path / name / "index.html").read_text().partition("<footer>")[0]

    assert rows(server, "remote") == rows(f"sqlite:///{ten_runs / 'mlflow.db'}", "local")
