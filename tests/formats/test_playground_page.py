"""The playground's page, operated in an offline browser, and the file that it comes in."""

import re

import pytest

from tests.waiting import wait_until
from tinyllm.formats.playground import PAGE, SCRIPTS, write_playground
from tinyllm.inference.checkpoint import load_checkpoint

pytestmark = pytest.mark.medium

HOSTILE = "</script><script>document.title = 'taken'</script><!-- {{style}} &amp; \\u003c"


def test_writing_streams_and_stop_stops_it(browser, random):
    browser.open(random).set(count=2000)
    lengths = browser.driver.execute_async_script(
        "const [done] = arguments, text = document.getElementById('text'), lengths = [];"
        "const stop = document.getElementById('stop');"
        "new MutationObserver(() => {"
        "  lengths.push(text.textContent.length);"
        "  if (lengths.length === 3) stop.click();"
        "}).observe(text, { childList: true });"
        "document.getElementById('write').click();"
        # wait after the stop, to see that there is no more text
        "const look = () => (lengths.length < 3 || !stop.disabled)"
        "  ? setTimeout(look, 20) : setTimeout(() => done(lengths), 200);"
        "look();"
    )
    assert 0 < lengths[1] < lengths[2] < 2000
    assert len(lengths) == 3
    # in code units, of which the grinning face has two
    assert browser.run("return document.getElementById('text').textContent.length") == lengths[-1]
    assert browser.find("#status").text.startswith("Stopped: ")
    assert not browser.find("#stop").is_enabled()
    browser.set(count=30)
    browser.write("ab")
    browser.find("#prompt").send_keys("\ue00c")  # Escape, which has nothing left to stop
    assert re.fullmatch(r"30 characters, \d+ per second", browser.find("#status").text)


def test_keys_write_and_stop(browser, random):
    browser.open(random).set(count=10)
    control, enter = "\ue009", "\ue007"
    browser.find("#prompt").send_keys("abc", control, enter)
    browser.wait()
    assert len(browser.all("#text .own")) == 10
    assert browser.find("#prompt").get_attribute("value") == "abc"


def test_a_seed_that_is_not_a_number_is_refused(browser, random):
    browser.open(random)
    for seed in ("", "1.5", "x", "-1", str(2**63)):
        browser.set(seed=seed)
        browser.find("#write").click()
        assert "seed" in browser.find("#status").text
        assert browser.text() == ""
    browser.set(seed=2**63 - 1, count=10)
    assert len(browser.write("ab")) >= 12
    browser.find("#new-seed").click()
    assert browser.find("#seed").get_attribute("value").isdecimal()


def test_the_prompt_is_marked(browser, random):
    browser.open(random, prompt="ab\nc").set(count=20)
    assert browser.find("#prompt").get_attribute("value") == "ab\nc"
    browser.find("#write").click()
    browser.wait()
    prompt = "".join(span.get_attribute("textContent") for span in browser.all("#text .prompt"))
    assert prompt == "ab\nc"
    weights = [
        browser.find(f"#text .{kind}").value_of_css_property("color") for kind in ("prompt", "own")
    ]
    assert weights[0] != weights[1]


def test_copy_takes_prompt_and_text(browser, random):
    browser.open(random).set(count=30)
    text = browser.write("abc")
    browser.run("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    browser.find("#copy").click()
    assert browser.run("return window.copied") == text
    browser.run(
        "navigator.clipboard.writeText = () => Promise.reject(new Error('denied'));"
        "document.execCommand = () => { window.copied = document.activeElement.value + '.'; }"
    )
    browser.find("#copy").click()
    wait_until(lambda: browser.run("return window.copied") == text + ".", between=0.02)


def test_a_prompt_cannot_break_out_of_the_page(browser, random):
    browser.open(random, prompt=HOSTILE)
    assert browser.driver.title == "tinyllm playground"
    assert browser.find("#prompt").get_attribute("value") == HOSTILE
    browser.set(count=10)
    browser.find("#write").click()
    browser.wait()
    assert browser.text().startswith(HOSTILE)
    assert browser.driver.title == "tinyllm playground"


def test_the_page_says_what_the_model_is(browser, checkpoint):
    facts = browser.open(checkpoint).find("#facts").text.split(" · ")
    assert f"{checkpoint.model.num_parameters():,} parameters" in facts
    assert f"{len(checkpoint.tokenizer.alphabet)} characters in the alphabet" in facts
    assert {"2 layers", "1 heads", "32 wide", "32 characters of context"} <= set(facts)


def test_the_page_forbids_itself_every_connection(browser, random, tmp_path):
    (tmp_path / "other.txt").write_text("reached", encoding="utf-8")
    browser.open(random)
    blocked = browser.driver.execute_async_script(
        "const done = arguments[0], blocked = [];"
        "document.addEventListener('securitypolicyviolation',"
        "  (event) => blocked.push(event.effectiveDirective));"
        "new Image().src = 'other.txt'; fetch('data:,x').catch(() => 0);"
        "const look = () => blocked.length < 2"
        "  ? setTimeout(look, 20) : setTimeout(() => done(blocked.sort()), 100);"
        "look();"
    )
    assert blocked == ["connect-src", "img-src"]
    assert browser.driver.get_log("browser")


def test_nothing_is_requested_from_the_network(browser, random):
    browser.open(random).set(count=20)
    browser.write("abc")
    assert browser.run("return performance.getEntriesByType('resource').length") == 0


@pytest.mark.parametrize("width", [360, 390, 701, 1200])
def test_the_page_fits_its_screen(browser, random, width):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 700}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        browser.open(random).set(count=200)
        browser.run("document.getElementById('settings').open = true")
        browser.write("abc def gh" * 16)
        assert browser.run("return document.documentElement.scrollWidth") <= width
        columns = browser.find("main").value_of_css_property("grid-template-columns").split()
        assert len(columns) == (1 if width < 700 else 2)
        smallest = min(button.size["height"] for button in browser.all("button"))
        assert smallest >= (44 if width < 700 else 32)
    finally:
        browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_every_control_has_a_name(browser, random):
    browser.open(random).set(count=10)
    browser.find("#show-attention").click()
    browser.write("abc")
    for element in browser.all("textarea, input, select, button, #text, #chances"):
        assert element.accessible_name.strip(), element.get_attribute("outerHTML")


def test_two_pages_of_a_model_are_the_same_bytes(checkpoint_folder, tmp_path):
    paths = [tmp_path / "a.html", tmp_path / "folder" / "b.html"]
    for path in paths:
        write_playground(load_checkpoint(checkpoint_folder), path, "What ")
    first, second = (path.read_bytes() for path in paths)
    assert first == second
    assert str(tmp_path).encode() not in first
    write_playground(load_checkpoint(checkpoint_folder), paths[0], "Who ")
    assert paths[0].read_bytes() != first


def test_the_page_needs_no_other_file(checkpoint, tmp_path):
    write_playground(checkpoint, tmp_path / "page.html", HOSTILE)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("<script") == page.count("</script>") == 3
    page = re.sub(r'(?<=id="weights">)[A-Za-z0-9+/=]+(?=</script>)', "", page)
    assert not re.search(r"https?:|//\w|<link|@import|\burl\(|\bsrc=|\bimport\b|\beval\b", page)


def test_every_script_and_the_style_are_in_the_page(checkpoint, tmp_path):
    write_playground(checkpoint, tmp_path / "page.html", "")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    files = {path.name for path in PAGE.iterdir()}
    assert files == {"page.html", "style.css", *SCRIPTS}
    for name in files - {"page.html"}:
        assert (PAGE / name).read_text(encoding="utf-8") in page
