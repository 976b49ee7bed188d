"""The page computes what the model does and draws what Python does, in an offline browser."""

import pytest
import torch

from tests.conftest import SMALL_TRAINING
from tests.playground import (
    ODD,
    native_choices,
    native_logits,
    random_checkpoint,
    sliding,
)
from tinyllm.inference.checkpoint import Checkpoint
from tinyllm.inference.config import SamplingConfig
from tinyllm.inference.sampling import uniform
from tinyllm.model.config import ModelConfig
from tinyllm.model.transformer import Transformer
from tinyllm.tokens.characters import CharacterTokenizer

pytestmark = pytest.mark.medium


@pytest.fixture(scope="module")
def trained(tokens, arithmetic):
    """A model whose window takes a prompt and a hundred characters, trained for seconds."""
    from tinyllm.tokens.windows import TokenData, load_token_data
    from tinyllm.training.recipe import Recipe
    from tinyllm.training.run import run_training

    tokenizer = CharacterTokenizer.load_state(tokens / "tokenizer.json")
    config = ModelConfig(
        d_model=32, num_heads=2, num_layers=2, d_ff=64, sequence_length=160, dropout=0.0
    )
    training = SMALL_TRAINING.model_copy(update={"max_steps": 80, "eval_interval": 80})
    data = load_token_data(tokens)
    short = TokenData(data.train, data.val[:400], data.vocab_size)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    result = run_training(short, Recipe(config, training), arithmetic)
    torch.set_num_threads(before)
    model = Transformer(config, tokenizer.vocab_size)
    model.load_state_dict(result.weights)
    return Checkpoint(model.eval(), tokenizer, {})


def assert_written(checkpoint, prompt, text, sampling):
    """The page continued the prompt as Python does."""
    assert text.startswith(prompt)
    written = text[len(prompt) :]
    assert len(written) == sampling.max_new_tokens
    # without a prompt, the text begins as if at the start of a line
    assert written == native_choices(checkpoint, prompt or "\n", written, sampling)


def assert_logits_agree(browser, checkpoint, reference, line):
    ours, theirs = browser.logits(line), native_logits(reference, line or "\n")[-1]
    assert ours.shape == (checkpoint.tokenizer.vocab_size,)
    assert abs(ours - theirs).max() < 1e-4


def test_a_typed_prompt_continues_as_in_python(browser, trained):
    browser.open(trained).set(temperature=0, count=100)
    prompt = "What news, my lord?\nI "
    sampling = SamplingConfig(temperature=0, max_new_tokens=100)
    assert_written(trained, prompt, browser.write(prompt), sampling)


@pytest.mark.parametrize("line", ["a", "What news, my lord?", "", "\n\nO, \N{SNOWMAN}" * 20])
def test_logits_of_a_trained_model(browser, trained, line):
    assert_logits_agree(browser.open(trained), trained, trained, line)


@pytest.mark.parametrize(
    "changes",
    [
        {"tie_embeddings": False},
        {"tie_embeddings": True},
        {"num_heads": 1, "d_model": 2, "num_layers": 1, "d_ff": 1},
        {"num_layers": 3, "rope_theta": 1e6, "norm_eps": 1.0},
    ],
)
def test_logits_of_every_shape(browser, changes):
    checkpoint = random_checkpoint(**changes)
    browser.open(checkpoint)
    for line in ("a", "abc<\u00e9\N{GRINNING FACE}\u2028 x", "abcdefghabcdefgh"):
        assert_logits_agree(browser, checkpoint, checkpoint, line)


@pytest.mark.parametrize("length", [17, 31, 32, 100, 500])
def test_beyond_the_window_each_character_sees_one_window_back(browser, random, length):
    line = "".join(ODD[index * index % len(ODD)] for index in range(length))
    assert_logits_agree(browser.open(random), random, sliding(random), line)


@pytest.mark.parametrize(
    "sampling",
    [
        SamplingConfig(max_new_tokens=150, temperature=0),
        SamplingConfig(max_new_tokens=150, temperature=1),
        SamplingConfig(max_new_tokens=150, temperature=1e-9, seed=5),
        SamplingConfig(max_new_tokens=150, temperature=2.5, seed=2**63 - 1),
        SamplingConfig(max_new_tokens=150, temperature=1.5, top_k=3, seed=1),
        SamplingConfig(max_new_tokens=150, temperature=1.5, top_p=0.6, seed=2**53 + 1),
        SamplingConfig(max_new_tokens=150, temperature=0.9, top_k=9, top_p=0.9, seed=7),
    ],
    ids=str,
)
def test_a_seed_gives_the_same_text_as_in_python(browser, random, sampling):
    text = browser.open(random).generate("ab", sampling)
    assert_written(sliding(random), "ab", text, sampling)


def test_the_settings_on_the_page_are_used(browser, random):
    browser.open(random)
    browser.set(temperature=1.35, top_k=7, top_p=0.8, count=120, seed=2**60 + 3)
    shown = {output.get_attribute("for"): output.text for output in browser.all("output")}
    values = {"temperature": "1.35", "top-k": "7", "top-p": "0.8", "count": "120"}
    assert shown == values
    sampling = SamplingConfig(
        temperature=1.35, top_k=7, top_p=0.8, max_new_tokens=120, seed=2**60 + 3
    )
    assert_written(sliding(random), "abc", browser.write("abc"), sampling)


def test_the_page_never_draws_the_unknown_character(browser):
    checkpoint = random_checkpoint()
    with torch.no_grad():
        checkpoint.model.lm_head.weight[0] = 0
        checkpoint.model.lm_head.weight[1:] *= 1e-3
    sampling = SamplingConfig(temperature=2, max_new_tokens=500)
    written = browser.open(checkpoint).generate("", sampling)
    assert set(written) == set(ODD)
    assert len(written) == 500


def test_without_a_prompt_the_text_begins_a_line(browser, trained):
    browser.open(trained).set(temperature=0, count=40)
    sampling = SamplingConfig(temperature=0, max_new_tokens=40)
    assert_written(trained, "", browser.write(""), sampling)


def test_unknown_characters_are_named_once_and_read_as_unknown(browser, trained):
    browser.open(trained).set(temperature=0, count=50)
    note = browser.find("#note")
    assert not note.is_displayed()
    prompt = "The \u2603 and the \u00e9 \u2603"
    sampling = SamplingConfig(temperature=0, max_new_tokens=50)
    assert_written(trained, prompt, browser.write(prompt), sampling)
    assert note.is_displayed()
    assert note.text == (
        "The model has never seen “\u00e9” “\u2603” in training; it reads <unk> instead."
    )
    browser.write("The ")
    assert not note.is_displayed()


def test_uniform_numbers_are_those_of_python(browser):
    # the sampler itself is out of reach, so the text shows it: one character of two, evenly
    checkpoint = random_checkpoint(CharacterTokenizer("ab"))
    with torch.no_grad():
        checkpoint.model.lm_head.weight.zero_()
    seed = 2**62 + 12345
    sampling = SamplingConfig(temperature=1, max_new_tokens=200, seed=seed)
    written = browser.open(checkpoint).generate("a", sampling)
    assert written[1:] == "".join("ab"[uniform(seed, index) >= 0.5] for index in range(200))


@pytest.mark.parametrize("choice", [{"temperature": 0}, {"top_k": 1}, {"top_k": 2}, {"top_p": 0.2}])
def test_ties_are_broken_by_token(browser, choice):
    checkpoint = random_checkpoint()
    with torch.no_grad():
        checkpoint.model.lm_head.weight.zero_()
    sampling = SamplingConfig(max_new_tokens=12, **choice)
    assert_written(checkpoint, "a", browser.open(checkpoint).generate("a", sampling), sampling)
