"""A reader's logits for a text are the same, to the bit, in any batch."""

import numpy as np
import pytest
import torch

from tinyllm.inference.reader import CachedReader

TEXTS = [[3], [5, 4], [1, 2, 3, 4, 5, 6, 7], list(range(1, 20)), [7] * 32, [9, 8] * 40]


@pytest.fixture
def model(checkpoint):
    return checkpoint.model


def read(model, texts, more):
    """Logits after the prompts and after each of the tokens `more`: [places, texts, vocabulary]."""
    reader = CachedReader(model)
    logits = [reader.start(texts)]
    logits += [reader.step([token] * len(texts)) for token in more]
    return np.stack(logits)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_text_is_read_the_same_alone_and_in_a_batch(model, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    more = [4, 11, 2] * 11
    together = read(model, TEXTS, more)
    for row, text in enumerate(TEXTS):
        assert np.array_equal(read(model, [text], more)[:, 0], together[:, row])
    for texts in (TEXTS[:3], TEXTS[::-1], TEXTS * 4):
        rows = [TEXTS.index(text) for text in texts]
        assert np.array_equal(read(model, texts, more), together[:, rows])
    torch.set_num_threads(before)


def test_within_the_window_the_reader_equals_the_model(model):
    prompt, more = [3, 1, 4], [1, 5, 9, 2, 6]
    with torch.no_grad():
        expected = model(torch.tensor([prompt + more]))[0, len(prompt) - 1 :]
    np.testing.assert_allclose(read(model, [prompt], more)[:, 0], expected.numpy(), atol=1e-5)


def test_a_new_start_forgets_what_was_read(model):
    reader = CachedReader(model)
    fresh = reader.start([[2, 3]])
    reader.start(TEXTS)
    reader.step([1] * len(TEXTS))
    assert np.array_equal(reader.start([[2, 3]]), fresh)
