"""`tinyllm playground`: which page it opens, and what it says when there is none."""

import pytest
from click.testing import CliRunner

from tinyllm.app.commands.playground import playground
from tinyllm.formats.playground import write_playground
from tinyllm.inference.checkpoint import load_checkpoint


@pytest.fixture
def opened(monkeypatch):
    """What the command opens in the browser."""
    addresses = []
    monkeypatch.setattr("webbrowser.open", addresses.append)
    return addresses


def test_the_command_opens_the_exported_page(tmp_path, opened):
    (tmp_path / "playground.html").touch()
    result = CliRunner().invoke(playground, ["--model", str(tmp_path)])
    assert result.exit_code == 0
    assert result.stdout == f"{tmp_path / 'playground.html'}\n"
    assert opened == [(tmp_path / "playground.html").as_uri()]


def test_the_command_can_only_print(tmp_path, opened):
    (tmp_path / "playground.html").touch()
    result = CliRunner().invoke(playground, ["--model", str(tmp_path), "--print-path"])
    assert result.stdout == f"{tmp_path / 'playground.html'}\n"
    assert opened == []


def test_the_command_says_how_to_get_a_page(tmp_path, opened):
    result = CliRunner().invoke(playground, ["--model", str(tmp_path)])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert len(result.stderr.splitlines()) == 1
    for word in (str(tmp_path), "dvc repro", "playground", "export.formats", "--out"):
        assert word in result.stderr
    assert opened == []


def test_the_command_writes_the_page_of_any_model(checkpoint_folder, tmp_path, opened):
    out = tmp_path / "other" / "page.html"
    result = CliRunner().invoke(playground, ["--model", str(checkpoint_folder), "--out", str(out)])
    assert result.exit_code == 0, result.output
    write_playground(load_checkpoint(checkpoint_folder), tmp_path / "page.html", "")
    assert out.read_bytes() == (tmp_path / "page.html").read_bytes()
    assert opened == [out.as_uri()]
