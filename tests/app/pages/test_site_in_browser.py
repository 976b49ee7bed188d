"""The static site as somebody sees it who opens its files in a real browser."""

import shutil

import pytest
from click.testing import CliRunner

from tests.app.pages.ten_runs import SETTINGS
from tinyllm.app.cli import main

pytestmark = pytest.mark.medium

PHONE, DESK = (390, 844), (1200, 900)


def name_of(setting):
    """The parts of the name of a run."""
    rate, width, source, _ = setting
    return {f"d_model={width}", f"learning_rate={rate}", f"source={source}"}


@pytest.fixture(scope="module")
def folder(ten_runs, tmp_path_factory):
    """The site of the ten runs, with a picture."""
    project = shutil.copytree(ten_runs, tmp_path_factory.mktemp("site") / "project")
    picture = project / "reports" / "evaluate" / "curves.png"
    picture.parent.mkdir(parents=True)
    shutil.copyfile("docs/images/curves.png", picture)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        patch.setenv("DVC_ROOT", str(project))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        assert CliRunner().invoke(main, ["site"]).exit_code == 0
    return project / "site" / "runs"


@pytest.fixture(scope="module", params=[PHONE, DESK], ids=["phone", "desk"])
def browser(request, browsers):
    with browsers.chromium(*request.param) as driver:
        driver.size = request.param
        yield driver


@pytest.fixture
def page(browser, folder):
    browser.get((folder / "index.html").as_uri())
    return browser


def all_of(page, selector):
    return page.find_elements("css selector", selector)


def tick(page, wanted):
    for number, box in enumerate(all_of(page, "#runs input")):
        if box.is_selected() != (number in wanted):
            box.click()


def test_no_page_is_wider_than_the_window_or_has_an_error(browser, folder):
    places = ["index.html", "models.html", "reports.html"]
    places.append(next((folder / "runs").iterdir()).relative_to(folder))
    for place in places:
        browser.get((folder / place).as_uri())
        for details in all_of(browser, "details"):
            browser.execute_script("arguments[0].open = true", details)
        width = browser.execute_script("return document.documentElement.scrollWidth")
        assert width <= browser.size[0], place
        assert browser.get_log("browser") == [], place


def test_the_best_run_is_the_first_to_be_read(page):
    first = all_of(page, "#runs tbody tr")[0].text
    best = min(SETTINGS, key=lambda setting: setting[3])
    assert "2.1900" in first
    assert "champion" in first
    assert name_of(best) <= set(first.split())


def test_two_ticked_runs_are_compared_by_name(page):
    tick(page, {1, 6})
    names = [row.find_element("css selector", "a").text for row in all_of(page, "#runs tbody tr")]
    assert [item.text for item in all_of(page, "#legend li")] == [names[1], names[6]]
    assert len(all_of(page, "#chart polyline")) == 2
    before = all_of(page, "#chart polyline")[0].get_attribute("points")
    all_of(page, "#choice input")[1].click()
    assert all_of(page, "#chart polyline")[0].get_attribute("points") != before
    tick(page, set())
    assert not page.find_element("id", "comparison").is_displayed()


def test_a_head_sorts_by_its_column_and_back(page):
    def column():
        return [row.find_elements("css selector", "td")[2].text for row in rows()]

    def rows():
        return all_of(page, "#runs tbody tr")

    head = all_of(page, "#runs th button")[1]
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", head)
    head.click()
    assert column() == sorted(column())
    head.click()
    assert column() == sorted(column(), reverse=True)


def test_pictures_appear_and_links_lead_to_a_run_and_back(page, folder):
    page.get((folder / "reports.html").as_uri())
    assert page.execute_script("return document.images[0].naturalWidth") > 100
    page.get((folder / "index.html").as_uri())
    name = all_of(page, "a.run")[0].text
    all_of(page, "a.run")[0].click()
    assert page.find_element("css selector", "h1").text.startswith(name)
    assert len(all_of(page, "polyline")) == 2
    page.find_element("css selector", ".home").click()
    assert len(all_of(page, "#runs tbody tr")) == 10
