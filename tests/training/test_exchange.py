"""The ordered sum: the same bits for any number of processes, in place, with little memory."""

import hashlib
from pathlib import Path

import pytest
import torch

from tests.training.together import run_together
from tinyllm.training import exchange
from tinyllm.training.exchange import OrderedSum

# no number of processes divides them; one tensor is longer than a block
SHAPES = ((3, 5), (), (7,), (1031, 263), (1, 1, 13), (0, 4))
MICROBATCHES = 24


def gradients_of(microbatch):
    """Numbers of very different sizes, whose sum depends on the order."""
    generator = torch.Generator().manual_seed(microbatch)
    tensors = [torch.randn(shape, generator=generator) for shape in SHAPES]
    return [tensor * 10 ** float(microbatch % 5) for tensor in tensors]


def sum_in_turn(microbatches):
    total = gradients_of(0)
    for index in range(1, microbatches):
        for tensor, other in zip(total, gradients_of(index), strict=True):
            tensor.add_(other)
    return digest(total)


def digest(tensors):
    """A hash of all bits."""
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in tensors)).hexdigest()


def sum_together(group):
    """Sums over several rounds, and over a single one."""
    sums = []
    for microbatches in (MICROBATCHES, group.size):
        ordered = OrderedSum(group.rank, group.size)
        for index in range(group.rank, microbatches, group.size):
            tensors = gradients_of(index)
            ordered.add(tensors, last=index + group.size >= microbatches)
        sums.append(digest(tensors))
    return sums


def test_the_order_of_these_gradients_matters():
    backwards = [gradients_of(index) for index in reversed(range(MICROBATCHES))]
    total = [torch.stack(tensors).sum(dim=0) for tensors in zip(*backwards, strict=True)]
    assert digest(total) != sum_in_turn(MICROBATCHES)


@pytest.mark.parametrize("size", [2, 3, 4, 8])
def test_every_process_gets_the_bits_that_one_would(size, tmp_path):
    expected = [sum_in_turn(MICROBATCHES), sum_in_turn(size)]
    assert run_together(sum_together, size, tmp_path) == [expected] * size


def peak_beyond_the_gradient(group, elements):
    peak = Path("/proc/self/status")

    def memory(kind):
        return int(peak.read_text().split(f"{kind}:")[1].split()[0]) * 1024

    sum_once(group, 1000)
    gradient = torch.ones(elements)
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    OrderedSum(group.rank, group.size).add([gradient], last=True)
    assert gradient[-1] == group.size
    return (memory("VmHWM") - before) / (4 * elements)


def sum_once(group, elements):
    OrderedSum(group.rank, group.size).add([torch.ones(elements)], last=True)


def test_the_exchange_takes_little_memory_beside_the_gradient(tmp_path):
    elements = 8 * exchange._LARGEST_BLOCK
    shares = run_together(peak_beyond_the_gradient, 4, tmp_path, elements)
    # gathering everybody's took three times the gradient
    assert max(shares) < 0.5
