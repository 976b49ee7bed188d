"""Shared by the tests of training."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread():
    """One thread, which is fastest for such small matrices."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
