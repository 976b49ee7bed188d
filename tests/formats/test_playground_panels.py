"""The panels of the playground's page: chances and attention."""

import math

import pytest
import torch

from tests.playground import native_logits, random_checkpoint, sliding
from tests.sliding import EverythingAtOnce
from tinyllm.model.transformer import rotate

pytestmark = pytest.mark.medium

SIGNS = {" ": "\u2423", "\n": "\u21b5"}


@torch.no_grad()
def native_attention(checkpoint, text):
    """[layers, heads, characters]: how much the last character attends to each, in `sliding`."""
    model = checkpoint.model
    x = model.embedding(torch.tensor([checkpoint.tokenizer.encode(text).tolist()]))
    time_ = x.shape[1]
    at_once = EverythingAtOnce(model, time_)
    rotary = at_once.begin(time_)
    layers = []
    for block in model.blocks:
        own = block.attention
        qkv = own.qkv_proj(block.attention_norm(x)).view(time_, 3, own.num_heads, own.head_dim)
        queries = rotate(own.q_norm(qkv[None, :, 0]), rotary)[0, -1]
        keys = rotate(own.k_norm(qkv[None, :, 1]), rotary)[0]
        scores = torch.einsum("hd,thd->ht", queries, keys) / math.sqrt(own.head_dim)
        layers.append(scores.masked_fill(~at_once.mask[-1], -math.inf).softmax(-1))
        x = block(x, rotary, at_once)
    return torch.stack(layers)


def shares(browser):
    """The attention to each shaded character, from the page."""
    spans = "[...document.querySelectorAll('#text [data-share]')]"
    script = f"return {spans}.map((span) => Number(span.dataset.share))"
    return torch.tensor(browser.run(script))


def chart(browser):
    """(sign, shown chance, bar's share, share of the bar behind it) of each row; chosen signs."""
    rows = browser.run(
        "return [...document.querySelectorAll('#chances li')].map((row) => {"
        "  const [sign, number, bar, track] = ['.sign', '.number', '.bar', '.track'].map("
        "    (name) => row.querySelector(name));"
        "  const width = (element) => element.getBoundingClientRect().width;"
        "  return [sign.textContent, number.textContent, width(bar) / width(track),"
        "    Number(track.style.getPropertyValue('--own-share'))]; })"
    )
    return rows, [sign.text for sign in browser.all("#chances .chosen .sign")]


def ranked_chances(checkpoint, text, temperature):
    """Every character after `text`, the likeliest first: its sign, its chance, the model's own."""
    logits = torch.tensor(native_logits(checkpoint, text)[-1]).double()
    logits[0] = -math.inf
    own = logits.softmax(-1).tolist()
    drawn = (logits / temperature).softmax(-1).tolist()
    characters = [checkpoint.tokenizer.decode([token]) for token in range(len(own))]
    rows = [(SIGNS.get(char, char), drawn[i], own[i]) for i, char in enumerate(characters)]
    return sorted(rows, key=lambda row: -row[2])


def test_the_chart_shows_what_the_chosen_character_was_drawn_from(browser, checkpoint):
    browser.open(checkpoint).set(temperature=1.2, count=60)
    text = browser.write("What ")
    reference = sliding(checkpoint)
    # first the last character, then one that is clicked, then its neighbor by arrow key
    for place in (59, 20, 21):
        if place == 20:
            browser.all("#text .own")[20].click()
        if place == 21:
            browser.find("#text").send_keys("\ue014")
        rows, chosen = chart(browser)
        character = text[5 + place]
        assert browser.find("#chances-title").text == f"Character {place + 1} was drawn from"
        assert chosen == [SIGNS.get(character, character)]
        assert len(rows) == 10
        expected = ranked_chances(reference, text[: 5 + place], 1.2)
        if chosen[0] not in [sign for sign, _, _ in expected[:10]]:
            expected[9] = next(row for row in expected if row[0] == chosen[0])
        for (sign, number, width, behind), row in zip(rows, expected, strict=False):
            assert sign == row[0]
            assert width == pytest.approx(row[1], abs=0.01)
            assert behind == pytest.approx(row[2], abs=1e-4)
            assert float(number.strip("<%")) == pytest.approx(100 * row[1], abs=0.1)


def test_the_chart_leaves_out_what_top_k_leaves_out(browser, random):
    browser.open(random).set(temperature=1, top_k=3, count=10)
    browser.write("abc")
    numbers = [number for _, number, _, _ in chart(browser)[0]]
    assert len(numbers) == 10
    assert [number == "\u2013" for number in numbers] == [False] * 3 + [True] * 7


def test_attention_is_that_of_the_model(browser, random):
    text = browser_text_with_attention(browser, random, "abcdefgh")
    reference = sliding(random)
    last = native_attention(reference, text[:-1])
    assert abs(shares(browser) - last.mean((0, 1))[-16:]).max() < 1e-4
    shaded = browser.all("#text [data-share]")
    assert "".join(span.get_attribute("textContent") for span in shaded) == text[-17:-1]
    browser.all("#text .own")[4].click()
    early = native_attention(reference, text[:12])
    assert abs(shares(browser) - early.mean((0, 1))).max() < 1e-4
    for layer in range(2):
        for head in range(3):
            browser.run(
                "for (const [id, value] of Object.entries(arguments[0])) {"
                "  const select = document.getElementById(id); select.value = value;"
                "  select.dispatchEvent(new Event('change')); }",
                {"layer": str(layer), "head": str(head)},
            )
            assert abs(shares(browser) - early[layer, head]).max() < 1e-4
    browser.find("#show-attention").click()
    assert len(shares(browser)) == 0


def browser_text_with_attention(browser, checkpoint, prompt):
    """Write forty characters, none of which counts twice in JavaScript, and show attention."""
    browser.open(checkpoint).set(temperature=0, count=40)
    browser.find("#show-attention").click()
    text = browser.write(prompt)
    shaded = browser.all("#text [data-share]")
    assert len(shaded) == 16
    colors = {span.value_of_css_property("background-color") for span in shaded}
    assert len(colors) > 3
    return text


def test_attention_without_a_prompt_is_shown_on_the_line_break_before_it(browser, random):
    browser.open(random).set(temperature=0, count=10)
    browser.find("#show-attention").click()
    browser.write("")
    browser.all("#text .own")[0].click()
    assert shares(browser).tolist() == [1]
    assert browser.find("#text .start").get_attribute("data-share") == "1.00000"


def test_attention_of_a_large_model_is_kept_for_the_latest_characters(browser):
    large = random_checkpoint(d_model=16, num_heads=8, num_layers=8, sequence_length=1000)
    browser.open(large).set(count=300)
    browser.find("#show-attention").click()
    browser.write("a")
    assert len(shares(browser)) == 300
    for place, shaded in ((50, 51), (49, 0)):
        browser.all("#text .own")[place].click()
        assert len(shares(browser)) == shaded
    assert (
        browser.find("#attention-hint").text
        == "Attention is kept for the last 250 characters only."
    )
