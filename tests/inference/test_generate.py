"""Generation: prompts, windows, seeds, stop texts, and the cache against a naive loop."""

import logging

import pytest
import torch

from tests.sliding import sliding
from tinyllm.inference.config import SamplingConfig
from tinyllm.inference.generate import generate_text, generate_texts, stream_text
from tinyllm.tokens.characters import UNKNOWN_ID

WINDOW = 32
PROMPTS = [
    "",
    "\n",
    "What news, ",
    "  two  spaces\n\n",
    "What \N{GREEK CAPITAL LETTER OMEGA} is \N{PILE OF POO}?",
    "\N{SNOWMAN}\r\n\x00",
    "O" * WINDOW,
    "O" * (WINDOW + 1),
    "To sea, to sea, the duke will sail! " * 6,
]
GREEDY = SamplingConfig(temperature=0, max_new_tokens=20)


@pytest.fixture(autouse=True)
def one_thread():
    """More threads do not help a single stream of a small model."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_naively(checkpoint, prompt, count):
    """Take the likeliest token, recomputing everything at each step, without a cache.

    Attention slides over the text: a model with a longer window masks what is too far back.
    """
    tokens = checkpoint.tokenizer.encode(prompt).tolist()
    model = sliding(checkpoint.model, len(tokens) + count)
    for _ in range(count):
        with torch.no_grad():
            logits = model(torch.tensor([tokens]))[0, -1]
        logits[UNKNOWN_ID] = -torch.inf
        tokens.append(int(logits.argmax()))
    return checkpoint.tokenizer.decode(tokens[-count:])


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_text_begins_with_the_unchanged_prompt(checkpoint, prompt):
    text = generate_text(checkpoint, prompt, SamplingConfig(max_new_tokens=10))
    assert text.startswith(prompt)
    assert len(text) == len(prompt) + 10


def test_a_text_may_be_many_windows_long(checkpoint):
    text = generate_text(checkpoint, "", SamplingConfig(max_new_tokens=10 * WINDOW + 3))
    assert len(text) == 10 * WINDOW + 3
    assert set(text) <= set(checkpoint.tokenizer.alphabet)


def test_the_defaults_are_those_of_the_sampling_section(checkpoint):
    text = generate_text(checkpoint, "What")
    assert len(text) == len("What") + SamplingConfig().max_new_tokens
    assert text == generate_text(checkpoint, "What", SamplingConfig())


def test_same_seed_same_text_and_another_seed_another(checkpoint):
    texts = [
        generate_text(checkpoint, "What", SamplingConfig(seed=seed, max_new_tokens=80))
        for seed in (5, 5, 6)
    ]
    assert texts[0] == texts[1] != texts[2]


def test_random_numbers_drawn_elsewhere_do_not_change_the_text(checkpoint):
    sampling = SamplingConfig(max_new_tokens=30)
    quiet = generate_text(checkpoint, "What", sampling)
    stream = stream_text(checkpoint, "What", sampling)
    disturbed = "".join(character for character in stream if torch.rand(1) < 2)
    assert "What" + disturbed == quiet


def test_a_longer_text_begins_with_the_shorter_one(checkpoint):
    short, long = (
        generate_text(checkpoint, "What", SamplingConfig(max_new_tokens=count))
        for count in (50, 120)
    )
    assert long.startswith(short)


@pytest.mark.parametrize("length", [1, 2, 5])
def test_a_text_ends_with_its_stop_text(checkpoint, length):
    whole = generate_text(checkpoint, "", SamplingConfig(max_new_tokens=90))
    stop = whole[60 : 60 + length]
    text = generate_text(checkpoint, "", SamplingConfig(max_new_tokens=90, stop=stop))
    assert text == whole[: whole.index(stop) + length]
    assert len(text) < len(whole)


def test_a_stop_text_in_the_prompt_stops_nothing(checkpoint):
    sampling = SamplingConfig(max_new_tokens=25, stop="#")
    assert len(generate_text(checkpoint, "a#b#", sampling)) == 4 + 25


def test_without_a_prompt_the_text_begins_like_a_line(checkpoint):
    sampling = SamplingConfig(max_new_tokens=60)
    after_newline = generate_text(checkpoint, "\n", sampling)
    assert generate_text(checkpoint, "", sampling) == after_newline.removeprefix("\n")


@pytest.mark.parametrize("prompt", ["", "What news, ", "O" * 50])
def test_streaming_writes_the_same_text_character_by_character(checkpoint, prompt):
    sampling = SamplingConfig(max_new_tokens=70, seed=3)
    characters = list(stream_text(checkpoint, prompt, sampling))
    assert all(len(character) == 1 for character in characters)
    assert prompt + "".join(characters) == generate_text(checkpoint, prompt, sampling)


def test_streaming_computes_characters_on_demand(checkpoint):
    stream = stream_text(checkpoint, "What", SamplingConfig(max_new_tokens=1_000_000))
    assert len([next(stream) for _ in range(5)]) == 5


@pytest.mark.parametrize("prompt", ["O", "What news, ", "My lord, \N{SNOWMAN}"])
def test_within_the_window_the_cache_changes_nothing(checkpoint, prompt):
    count = WINDOW - len(prompt) + 1
    text = generate_text(checkpoint, prompt, GREEDY.model_copy(update={"max_new_tokens": count}))
    assert text == prompt + write_naively(checkpoint, prompt, count)


@pytest.mark.parametrize("length", [1, WINDOW - 1, WINDOW, WINDOW + 1, 3 * WINDOW])
def test_beyond_the_window_attention_slides(checkpoint, text, length):
    prompt = text[:length]
    written = generate_text(checkpoint, prompt, GREEDY.model_copy(update={"max_new_tokens": 90}))
    assert written == prompt + write_naively(checkpoint, prompt, 90)


@pytest.mark.parametrize(
    "sampling",
    [
        SamplingConfig(max_new_tokens=60, seed=4),
        SamplingConfig(max_new_tokens=60, temperature=0),
        SamplingConfig(max_new_tokens=60, seed=1, top_k=5, top_p=0.8, stop="e"),
    ],
)
def test_a_text_is_the_same_alone_and_in_a_batch_of_any_size(checkpoint, sampling):
    alone = [generate_text(checkpoint, prompt, sampling) for prompt in PROMPTS]
    assert generate_texts(checkpoint, PROMPTS, sampling) == alone
    assert generate_texts(checkpoint, PROMPTS[::-1] * 3, sampling) == alone[::-1] * 3
    assert generate_texts(checkpoint, PROMPTS[2:4], sampling) == alone[2:4]
    assert generate_texts(checkpoint, [], sampling) == []


def test_what_is_called_before_each_character_may_end_the_work(checkpoint):
    calls = []

    def count():
        calls.append(None)
        if len(calls) > 7:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        generate_texts(checkpoint, PROMPTS, GREEDY, count)
    assert len(calls) == 8


def test_texts_of_a_batch_stop_independently(checkpoint):
    sampling = SamplingConfig(max_new_tokens=80, seed=2, stop="e")
    texts = generate_texts(checkpoint, ["What", "DUKE:\n", "O"], sampling)
    assert len({len(text) for text in texts}) > 1
    assert all(text.endswith("e") or len(text) > 80 for text in texts)


def test_unknown_characters_are_named_in_a_warning(checkpoint, caplog, monkeypatch):
    logger = logging.getLogger("tinyllm.inference.generate")
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handlers", [caplog.handler])
    generate_text(checkpoint, "What news", GREEDY)
    assert caplog.messages == []
    generate_text(checkpoint, "\N{SNOWMAN} and \N{SNOWMAN}", GREEDY)
    assert len(caplog.messages) == 1
    assert repr("\N{SNOWMAN}") in caplog.text
