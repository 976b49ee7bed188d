"""Verdicts on other runtimes: what agrees passes, what differs is found."""

import numpy as np
import pytest

from tinyllm.base.errors import TinyLLMError
from tinyllm.formats.parity import TOLERANCES, Native, Opened, compare


class Disturbed:
    """The model's own reader, with something added to the logits of some of its answers."""

    def __init__(self, reader, disturb, every=1):
        self.reader, self.disturb, self.every, self.answers = reader, disturb, every, 0

    def start(self, prompts):
        return self._answer(self.reader.start(prompts))

    def step(self, tokens):
        return self._answer(self.reader.step(tokens))

    def _answer(self, logits):
        self.answers += 1
        return logits + self.disturb(logits) if self.answers % self.every == 0 else logits


@pytest.fixture
def judge(checkpoint, text):
    passage = checkpoint.tokenizer.encode(text[500:532]).tolist()

    def compare_with(disturb, precision="f32", every=1):
        reader = Disturbed(checkpoint.reader(), disturb, every)
        opened = Opened("some/export", "some runtime", precision, reader, greedy_tokens=40)
        return compare(opened, Native(checkpoint.reader, passage, checkpoint.tokenizer.unknown_id))

    return compare_with


def shift(size):
    """Adds `size` to the logit of one likely character."""

    def disturb(logits):
        added = np.zeros_like(logits)
        added[np.arange(len(logits)), np.argsort(logits)[:, -2]] = size
        return added

    return disturb


def test_the_model_agrees_with_itself(judge):
    verdict = judge(lambda logits: 0)
    assert verdict.max_difference == 0
    assert verdict.agrees
    assert verdict.same_text
    assert verdict.tokens_per_second > 0


def test_a_difference_within_the_tolerance_passes(judge):
    verdict = judge(shift(TOLERANCES["f32"] / 2))
    assert verdict.max_difference == pytest.approx(TOLERANCES["f32"] / 2, rel=0.05)
    assert verdict.agrees


@pytest.mark.parametrize("every", [1, 2, 7])
def test_a_float32_export_that_differs_is_refused(judge, every):
    with pytest.raises(TinyLLMError, match=r"some/export .* some runtime, a logit differs by 2\.0"):
        judge(shift(2e-3), every=every)


def test_a_rounded_export_that_differs_is_reported(judge):
    verdict = judge(shift(2.0), precision="f16")
    assert verdict.max_difference == pytest.approx(2.0, rel=1e-3)
    assert not verdict.agrees
    assert not verdict.same_text
    assert verdict.facts()["logits"] == "differ"
    assert verdict.facts()["greedy_text"] == "differs"


def test_nan_is_a_difference(judge):
    with pytest.raises(TinyLLMError, match="inf, more than"):
        judge(lambda logits: np.nan)


def test_the_model_reads_only_once_for_several_programs(checkpoint, text):
    opened = []

    def open_reader():
        opened.append(checkpoint.reader())
        return opened[-1]

    passage = checkpoint.tokenizer.encode(text[500:532]).tolist()
    native = Native(open_reader, passage, checkpoint.tokenizer.unknown_id)
    for program in ("one", "another"):
        assert compare(Opened("export", program, "f32", checkpoint.reader()), native).same_text
    # the passage, and the text that both wrote
    assert len(opened) == 2


def test_facts_hold_no_measurements(judge):
    first, second = judge(lambda logits: 0), judge(shift(1e-5))
    assert first.facts() == second.facts()
    assert first.max_difference != second.max_difference
