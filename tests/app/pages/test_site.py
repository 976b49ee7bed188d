"""`tinyllm site`: what it writes from which store, and what it leaves alone."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.app.pages.ten_runs import SAMPLE, SETTINGS, digest_of
from tinyllm.app.cli import main
from tinyllm.app.tracking.store import connect, experiment_id

pytestmark = pytest.mark.medium

HOSTILE = "</script><img src=x onerror=alert(1)>{{ 7 * 7 }}"


def tinyllm_site(*arguments, code=0):
    result = CliRunner().invoke(main, ["site", *arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def in_ten_runs(ten_runs, monkeypatch, tmp_path):
    """A copy of the project with ten runs as the current folder."""
    folder = shutil.copytree(ten_runs, tmp_path / "project")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DVC_ROOT", str(folder))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


def pages(folder="site/runs"):
    return {
        str(path.relative_to(folder)): path.read_text("utf-8")
        for path in Path(folder).rglob("*.html")
    }


def test_every_run_has_a_page_and_the_first_row_is_the_best(in_ten_runs):
    assert "10 runs of tinyllm, 12 pages" in tinyllm_site()
    found = pages()
    index = found.pop("index.html")
    rows = [row for row in index.split("<tr>")[1:] if 'type="checkbox"' in row]
    places = [index.index(f">{bits:.4f}</td>") for *_, bits in sorted(SETTINGS, key=lambda s: s[3])]
    assert places == sorted(places)
    assert "champion</span>" in rows[0]
    assert digest_of("texts/mine.txt")[:8] in rows[0]
    assert not any("champion</span>" in row for row in rows[1:])
    assert len([name for name in found if name.startswith("runs/")]) == 10


def test_a_page_shows_curve_text_and_origin_of_its_run(in_ten_runs):
    tinyllm_site()
    page = next(text for text in pages().values() if "champion</span></h1>" in text)
    assert page.count("<polyline") == 2
    assert SAMPLE.splitlines()[0] in page
    assert digest_of("texts/mine.txt")[:36] in page
    assert "tinyllm reproduce " in page


def test_models_come_with_their_cards_aliases_and_past_champions(in_ten_runs):
    tinyllm_site()
    text = pages()["models.html"]
    assert "models:/tinyllm@champion" in text
    assert "models:/tinyllm@candidate" in text
    assert "<em>2.19</em>" in text
    assert "the first version" in text


def test_only_the_best_are_shown_if_there_are_more_than_the_limit(in_ten_runs):
    assert "3 of 10 runs" in tinyllm_site("--limit", "3")
    found = pages()
    assert len([name for name in found if name.startswith("runs/")]) == 3
    assert "best 3 of 10 runs" in " ".join(found["index.html"].split())
    assert "2.6400" not in found["index.html"]


def test_reports_and_playground_are_there_if_the_project_has_them(in_ten_runs):
    (in_ten_runs / "reports/evaluate").mkdir(parents=True)
    (in_ten_runs / "reports/evaluate/curves.png").write_bytes(b"a picture")
    (in_ten_runs / "models/export").mkdir(parents=True)
    (in_ten_runs / "models/export/playground.html").write_text("a page")
    tinyllm_site()
    assert Path("site/runs/reports/evaluate-curves.png").read_bytes() == b"a picture"
    assert Path("site/runs/playground.html").read_text() == "a page"
    assert 'href="../playground.html"' in next(v for k, v in pages().items() if "runs/" in k)


def test_the_pages_of_a_run_whose_files_are_gone_say_so(in_ten_runs):
    for folder in (in_ten_runs / "mlruns").glob("*/artifacts/evaluate"):
        shutil.rmtree(folder)
    tinyllm_site()
    texts = [text for name, text in pages().items() if name.startswith("runs/")]
    assert all("files of this run are gone" in text for text in texts)
    assert all("<polyline" in text for text in texts)


def test_a_store_without_runs_makes_a_page_that_says_so(workspace):
    assert "0 runs" in tinyllm_site()
    assert "There are no runs yet" in pages()["index.html"]


def test_a_project_without_a_store_is_told_what_makes_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert "'make repro'" in tinyllm_site(code=1)
    assert not Path("site").exists()


@pytest.fixture
def hostile_run(workspace):
    client = connect()
    run = client.create_run(experiment_id(client, "tinyllm"), run_name=HOSTILE).info.run_id
    client.log_param(run, "train.note", HOSTILE)
    client.set_tag(run, "git.branch", HOSTILE)
    client.log_metric(run, "test_bits_per_character", 2.0)
    client.log_metric(run, "val_bits", 2.0, step=1)
    client.log_text(run, HOSTILE, "evaluate/samples.txt")
    client.create_registered_model("tinyllm")
    card = f"# {HOSTILE}\n\n[x](javascript:alert(1))"
    client.create_model_version("tinyllm", "somewhere", run, description=card)
    return run


def test_names_params_texts_and_cards_are_text_and_never_markup(hostile_run):
    tinyllm_site()
    for name, text in pages().items():
        assert "<img" not in text, name
        assert "{{ 7 * 7 }}" in text, name
        assert 'href="javascript' not in text, name
        assert text.count("</script>") == (2 if name == "index.html" else 0), name


def test_no_page_holds_a_secret(hostile_run, monkeypatch):
    secret = "-".join(["hunter2"] * 2)
    monkeypatch.setenv("SOME_PASSWORD", secret)
    client = connect()
    client.log_param(hostile_run, "prepare.source", f"https://me:{secret}@example.org/a.txt")
    client.log_text(hostile_run, f"token {secret}", "evaluate/samples.txt")
    client.set_tag(hostile_run, "git.left_out", secret)
    client.update_model_version("tinyllm", "1", f"the word is {secret}")
    tinyllm_site()
    assert not [name for name, text in pages().items() if secret in text]
    assert any("https://example.org/a.txt" in text for text in pages().values())


def test_a_folder_with_anything_else_is_refused_and_stays(workspace):
    mine = workspace / "web" / "index.html"
    mine.parent.mkdir()
    mine.write_text("<!doctype html>\nmy own page")
    assert "did not write" in tinyllm_site("--out", "web", code=2)
    assert mine.read_text() == "<!doctype html>\nmy own page"
    assert [path.name for path in mine.parent.iterdir()] == ["index.html"]


def test_a_site_takes_the_place_of_an_earlier_one(hostile_run):
    tinyllm_site("--out", "web")
    connect().delete_run(hostile_run)
    tinyllm_site("--out", "web")
    assert "There are no runs yet" in pages("web")["index.html"]
    assert not list(Path("web/runs").iterdir())
