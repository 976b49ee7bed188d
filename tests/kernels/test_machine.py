"""Where portable arithmetic cannot hold, the run is fast, and everything says so."""

import platform
import sys

import pytest

from tinyllm.kernels import machine
from tinyllm.kernels.config import NumericsConfig
from tinyllm.kernels.machine import (
    cpu_flags,
    cpu_vendor,
    hindrance,
    multiplies_bfloat16,
    possible_here,
)


def pretend(monkeypatch, system="linux", processor="x86_64", flags=()):
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: processor)
    monkeypatch.setattr(machine, "cpu_flags", lambda: set(flags))


@pytest.mark.parametrize(
    ("system", "processor", "reason"),
    [
        ("darwin", "x86_64", "macOS on x86_64"),
        ("darwin", "arm64", "macOS on arm64"),
        ("win32", "AMD64", "Windows on AMD64"),
        ("linux", "aarch64", "Linux on aarch64"),
        ("freebsd14", "amd64", "freebsd14 on amd64"),
    ],
)
def test_another_machine_cannot_be_portable(monkeypatch, system, processor, reason):
    pretend(monkeypatch, system, processor)
    assert hindrance() == reason


@pytest.mark.parametrize(
    ("flags", "missing"),
    [
        ({"sse2", "avx"}, "AVX2 and FMA"),
        ({"sse2", "avx", "fma"}, "AVX2"),
        ({"avx", "avx2"}, "FMA"),
    ],
)
def test_a_cpu_without_avx2_or_fma_cannot_be_portable(monkeypatch, flags, missing):
    pretend(monkeypatch, flags=flags)
    assert hindrance() == f"a CPU without {missing}"


@pytest.mark.parametrize("flags", [set(), {"avx2", "fma"}])
def test_a_cpu_with_avx2_or_unknown_flags_can(monkeypatch, flags):
    pretend(monkeypatch, flags=flags)
    assert hindrance() is None


def test_facts_of_this_cpu_are_read():
    assert {"avx2", "fma"} <= cpu_flags()
    assert cpu_vendor() in {"AuthenticAMD", "GenuineIntel"}


@pytest.mark.parametrize(
    ("vendor", "flags", "expected"),
    [
        ("AuthenticAMD", {"avx512f", "avx512_bf16"}, True),
        ("AuthenticAMD", {"avx512f"}, False),
        ("GenuineIntel", {"avx512f", "avx512_bf16"}, False),
        ("GenuineIntel", {"avx512_bf16", "amx_bf16"}, True),
        ("", set(), False),
    ],
)
def test_which_cpus_multiply_bfloat16_quickly(monkeypatch, vendor, flags, expected):
    pretend(monkeypatch, flags=flags)
    monkeypatch.setattr(machine, "cpu_vendor", lambda: vendor)
    assert multiplies_bfloat16() is expected


def test_what_was_asked_for_is_done_where_it_can_be():
    for config in (NumericsConfig(), NumericsConfig(mode="fast", threads=3)):
        assert possible_here(config) == config


def test_elsewhere_a_portable_run_is_fast_in_float32_on_the_cpu(monkeypatch):
    pretend(monkeypatch, "darwin", "arm64")
    asked = NumericsConfig(threads=5, processes=3)
    fast = {"mode": "fast", "device": "cpu", "precision": "float32"}
    assert possible_here(asked).model_dump() == {**asked.model_dump(), **fast}


def test_a_fast_run_is_what_was_asked_for_everywhere(monkeypatch):
    pretend(monkeypatch, "darwin", "arm64")
    asked = NumericsConfig(mode="fast")
    assert possible_here(asked) is asked
