"""What the tests of training share."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread():
    """Such small matrices are not worth sharing out."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
