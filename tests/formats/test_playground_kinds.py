"""The page with bytes and byte pairs, typed into and read in an offline browser."""

import re

import pytest

from tests.playground import random_checkpoint
from tests.tokenizers import DIFFICULT, learned
from tinyllm.inference.config import SamplingConfig
from tinyllm.inference.generate import generate_text

pytestmark = pytest.mark.medium

UNITS = {"byte": "byte", "bpe": "token"}


@pytest.fixture(scope="module", params=UNITS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def model(kind):
    """Random weights; most of what it writes is half of a character."""
    return random_checkpoint(learned(kind))


def test_typed_texts_are_continued_as_in_python(browser, kind, model):
    for seed, prompt in enumerate(["What news, ", "\u00e9 \u6f22\u5b57 e\u0301\n  we've", ""]):
        sampling = SamplingConfig(max_new_tokens=60, temperature=0.9, seed=seed)
        browser.open(model).set(temperature=0.9, count=60, seed=seed)
        text = browser.write(prompt)
        assert text == generate_text(model, prompt, sampling)
        assert re.fullmatch(rf"60 {UNITS[kind]}s, [\d,]+ per second", browser.find("#status").text)
        assert len(browser.all("#text .own")) == 60
        assert not browser.find("#note").is_displayed()


def test_difficult_prompts_are_read_as_in_python(browser, model):
    browser.open(model)
    for text in DIFFICULT:
        tokens = browser.run("return tinyllm.encode(arguments[0])", text)
        assert tokens == model.tokenizer.encode(text).tolist()
        # as a text field holds it
        field = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")
        sampling = SamplingConfig(max_new_tokens=20, temperature=0)
        assert browser.generate(field, sampling) == generate_text(model, field, sampling)


def test_each_token_of_a_prompt_has_its_piece(browser, model):
    prompt = "we've \u6f22\U0001f600"
    browser.open(model).set(count=10, temperature=0)
    browser.run("document.getElementById('prompt').value = arguments[0]", prompt)
    browser.find("#write").click()
    browser.wait()
    pieces = [span.get_attribute("textContent") for span in browser.all("#text .prompt")]
    stream = model.tokenizer.stream()
    tokens = model.tokenizer.encode(prompt).tolist()
    # before them what lies beyond the window
    shown = min(len(tokens), model.model.config.sequence_length)
    assert pieces[1:] == [stream.push(token) for token in tokens][-shown:]
    assert "".join(pieces) == prompt


def test_the_page_calls_tokens_by_their_name(browser, kind, model):
    browser.open(model).set(count=10)
    name = UNITS[kind]
    assert browser.find('label[for="count"]').text == f"{name.capitalize()}s"
    assert f"16 {name}s of context" in browser.find("#facts").text
    assert f"{model.tokenizer.vocab_size} tokens" in browser.find("#facts").text
    assert browser.find("#chances-title").text == f"Next {name}"
    browser.write("The")
    assert browser.find("#chances-title").text == f"{name.capitalize()} 10 was drawn from"
    browser.find("#show-attention").click()
    assert f"chose this {name}." in browser.find("#attention-hint").text
    assert "haracter" not in browser.find("main").text


def test_bytes_that_are_no_text_are_shown_as_bytes(browser, model):
    browser.open(model).set(count=100, temperature=2)
    browser.write("The")
    signs = []
    for place in range(20):
        browser.run("document.querySelectorAll('#text .own')[arguments[0]].click()", place)
        signs += [sign.text for sign in browser.all("#chances .sign")]
    assert any(re.fullmatch(r"(\\x[0-9A-F]{2})+", sign) for sign in signs)
    assert all(signs)
