"""What torch's compiler needs is there before a run begins, or a sentence says what is missing."""

import importlib.util
import shutil

import pytest
import torch

from tinyllm.base.errors import TinyLLMError
from tinyllm.kernels.compilation import check_compiler


@pytest.fixture
def without(monkeypatch):
    """No program and no package is found, but for those that are named."""

    def set_up(*found, cxx=None):
        monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}" * (name in found) or None)
        find_spec = importlib.util.find_spec
        known = {"triton": object() if "triton" in found else None}
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: known.get(name) or find_spec(name)
        )
        monkeypatch.delenv("CXX", raising=False)
        if cxx:
            monkeypatch.setenv("CXX", cxx)

    return set_up


@pytest.mark.parametrize(
    ("device", "found", "cxx"),
    [
        ("cpu", ["g++"], None),
        ("cpu", ["clang++"], None),
        ("cpu", ["c++-99"], "c++-99"),
        ("cuda", ["triton"], None),
    ],
)
def test_what_is_needed_is_found(without, device, found, cxx):
    without(*found, cxx=cxx)
    check_compiler(torch.device(device))


@pytest.mark.parametrize(
    ("device", "found", "words"),
    [
        ("cpu", ["triton"], "numerics.compile needs a C++ compiler such as g++, which is not"),
        ("cuda", ["g++"], "numerics.compile needs the package triton, which is not installed; "),
    ],
)
def test_what_is_missing_is_said(without, device, found, words):
    without(*found)
    with pytest.raises(TinyLLMError) as caught:
        check_compiler(torch.device(device))
    assert words in str(caught.value)
    assert str(caught.value).endswith("install it, or set numerics.compile to false.")
