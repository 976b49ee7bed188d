"""Only `Arithmetic` decides which operations are used."""

from dataclasses import replace

import pytest
import torch

from tinyllm.kernels.arithmetic import default_arithmetic
from tinyllm.kernels.fused import FusedTransformer, build_model
from tinyllm.kernels.products import OnednnProducts
from tinyllm.model.config import ModelConfig
from tinyllm.model.transformer import Transformer

SHAPE = ModelConfig(d_model=8, num_heads=2, num_layers=1, d_ff=8, sequence_length=4)


@pytest.fixture(params=[True, False], ids=["portable", "fast"])
def either(arithmetic, request):
    return replace(arithmetic, portable=request.param)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_fused_functions_are_used_on_the_cpu(either, precision):
    fused = replace(either, precision=precision)
    assert fused.fused
    assert type(build_model(SHAPE, 5, fused)) is FusedTransformer


@pytest.mark.parametrize(
    "change",
    [
        {"precision": torch.float64},
        {"device": torch.device("meta")},
        {"device": torch.device("meta"), "precision": torch.bfloat16},
    ],
)
def test_elsewhere_and_in_other_precisions_the_plain_model_is_used(either, change):
    other = replace(either, **change)
    assert not other.fused
    model = build_model(SHAPE, 5, other)
    assert type(model) is Transformer
    assert {p.device.type for p in model.parameters()} == {other.device.type}


def test_without_onednn_the_plain_model_is_used(either, monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not either.fused
    assert type(build_model(SHAPE, 5, either)) is Transformer
    assert default_arithmetic().products.by_mkl


def test_both_models_have_the_same_weights_by_the_same_names(either):
    fused, plain = build_model(SHAPE, 5, either), Transformer(SHAPE, 5)
    assert {n: p.shape for n, p in fused.state_dict().items()} == {
        n: p.shape for n, p in plain.state_dict().items()
    }


@pytest.mark.parametrize(
    ("precision", "fused", "expected"),
    [
        (torch.float32, True, torch.float32),
        (torch.float32, False, torch.float32),
        (torch.bfloat16, False, torch.bfloat16),
        # its functions round by themselves
        (torch.bfloat16, True, torch.float32),
    ],
)
def test_autocast_rounds_the_plain_model_in_bfloat16(
    either, monkeypatch, precision, fused, expected
):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: fused)
    a = torch.ones(4, 4)
    with replace(either, precision=precision).autocast():
        assert (a @ a).dtype == expected


def test_the_default_is_float32_on_the_cpu_and_changes_no_setting():
    before = torch.get_num_threads(), torch.backends.mkldnn.matmul.fp32_precision
    default = default_arithmetic()
    assert (default.device, default.precision) == (torch.device("cpu"), torch.float32)
    assert not default.portable
    assert isinstance(default.products, OnednnProducts)
    assert default.products._check is None
    assert (torch.get_num_threads(), torch.backends.mkldnn.matmul.fp32_precision) == before
