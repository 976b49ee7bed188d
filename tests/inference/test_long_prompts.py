"""Of a long prompt only what can reach the next character is read, to the same bits."""

import itertools
import random

import numpy as np
import pytest
import torch

from tinyllm.formats.load import load_onnx_model
from tinyllm.inference.reader import CachedReader, beyond_reach

WINDOW, LAYERS = 32, 2
LENGTHS = [1, 62, 63, 64, 93, 94, 95, 96, 97, 200, 511, 512, 1000]


def tokens(model, count):
    return random.Random(count).choices(range(1, model.tokenizer.vocab_size), k=count)


@pytest.mark.parametrize("length", LENGTHS)
def test_the_rest_changes_no_bit(checkpoint, monkeypatch, length):
    prompt, more = tokens(checkpoint, length), tokens(checkpoint, 50)
    found = []
    for reader in (CachedReader(checkpoint.model), CachedReader(checkpoint.model)):
        found.append([reader.start([prompt]), *(reader.step([token]) for token in more)])
        # the second reads all of it
        monkeypatch.setattr("tinyllm.inference.reader.beyond_reach", lambda _length, _config: 0)
    for one, other in itertools.zip_longest(*found):
        assert np.array_equal(one, other)


def test_a_long_prompt_is_mostly_passed_over(checkpoint):
    config = checkpoint.model.config
    assert (config.sequence_length, config.num_layers) == (WINDOW, LAYERS)
    for length in LENGTHS:
        rest = length - beyond_reach(length, config)
        assert rest == length or 0 < rest - LAYERS * (WINDOW - 1) <= WINDOW


@pytest.mark.medium
@pytest.mark.parametrize("length", LENGTHS)
def test_the_rest_changes_no_bit_in_onnx_runtime(export_folder, length):
    model = load_onnx_model(export_folder)
    prompt, more = tokens(model, length), tokens(model, 20)
    short, whole = model.reader(), model.reader()
    # as if everything could reach the next character
    whole._reach = length
    found, wanted = [short.start([prompt])], [whole.start([prompt])]
    found += [short.step([token]) for token in more]
    wanted += [whole.step([token]) for token in more]
    assert np.array_equal(np.stack(found), np.stack(wanted))


def test_a_megabyte_is_read_at_once(checkpoint):
    reader = checkpoint.reader()
    with torch.no_grad():
        reader.start([tokens(checkpoint, 1_000_000)])
