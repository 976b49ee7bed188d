"""Portable arithmetic: set up in time, checked, refused with a message if unavailable."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tinyllm.base.cores import usable_cores
from tinyllm.base.errors import TinyLLMError
from tinyllm.kernels import numerics
from tinyllm.kernels.config import NumericsConfig
from tinyllm.kernels.machine import AVX512_FLAGS, cpu_flags
from tinyllm.kernels.numerics import (
    ONEDNN_LIMIT,
    PORTABLE_ENVIRONMENT,
    choose_device,
    setup_numerics,
)

PORTABLE, FAST = NumericsConfig(mode="portable"), NumericsConfig(mode="fast")
SET_UP = """
import os, sys
from tinyllm.kernels.config import NumericsConfig
from tinyllm.base.cores import usable_cores
from tinyllm.base.errors import TinyLLMError
from tinyllm.kernels.numerics import setup_numerics
try:
    arithmetic = setup_numerics(NumericsConfig(mode=sys.argv[1], threads=3))
    products = arithmetic.products
    checked = not products.by_mkl and products._check is not None
    print("portable" if arithmetic.portable else "fast", "checked" if checked else "unchecked")
except TinyLLMError as error:
    print("refused:", error)
import torch
print(torch.backends.cpu.get_cpu_capability(), torch.get_num_threads())
print({name: os.environ.get(name) for name in ("OMP_DYNAMIC", "OMP_THREAD_LIMIT", "MKL_CBWR")})
"""


@pytest.fixture(autouse=True)
def _restore(monkeypatch):
    """Undo what another setup changes in this process."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def machine(monkeypatch):
    """Pretend that torch finds these devices."""

    def pretend(*devices):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in devices)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in devices)

    return pretend


def new_process(mode="portable", before="", after="", **environment):
    """Output lines of a process that sets up its arithmetic, and OpenMP's report."""
    fixed = {*PORTABLE_ENVIRONMENT, ONEDNN_LIMIT}
    inherited = {k: v for k, v in os.environ.items() if k not in fixed}
    inherited = {k: v for k, v in inherited.items() if not k.startswith(("GOMP_", "OMP_"))}
    result = subprocess.run(
        [sys.executable, "-c", before + SET_UP + after, mode],
        env=inherited | {"OMP_DISPLAY_ENV": "VERBOSE"} | environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return result.stdout.splitlines(), result.stderr


def fault_of(function, config):
    with pytest.raises(TinyLLMError) as caught:
        function(config)
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    assert ". " not in message
    return message


def test_the_environment_is_set_for_portable_arithmetic(arithmetic):
    assert arithmetic.portable
    assert {name: os.environ[name] for name in PORTABLE_ENVIRONMENT} == {
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_CBWR": "COMPATIBLE",
    }
    has_avx512 = "avx512dq" in cpu_flags()
    assert os.environ[ONEDNN_LIMIT] == ("AVX512_CORE" if has_avx512 else "AVX2")
    assert torch.backends.cpu.get_cpu_capability() == "AVX2"
    assert torch.are_deterministic_algorithms_enabled()


def test_portable_arithmetic_is_float32_on_the_cpu(arithmetic):
    assert arithmetic.device == torch.device("cpu")
    assert arithmetic.precision == torch.float32


def test_a_new_process_is_portable_whatever_its_environment_says():
    (outcome, capability, environment), openmp = new_process(
        ATEN_CPU_CAPABILITY="default", MKL_CBWR="AUTO", OMP_DYNAMIC="TRUE", OMP_THREAD_LIMIT="1"
    )
    assert (outcome, capability) == ("portable checked", f"AVX2 {min(3, usable_cores())}")
    assert eval(environment) == {
        "OMP_DYNAMIC": None,
        "OMP_THREAD_LIMIT": None,
        "MKL_CBWR": "COMPATIBLE",
    }
    # OpenMP itself reports its settings when it is loaded
    assert "GOMP_SPINCOUNT = '30000'" in openmp


@pytest.mark.parametrize("mode", ["portable", "fast"])
def test_a_new_process_does_not_wait_for_a_compiler_that_it_never_uses(mode):
    after = "\nprint({'torch._dynamo', 'torch._inductor'} & set(sys.modules))"
    lines, _ = new_process(mode, after=after)
    assert lines[-1] == "set()"


def test_a_process_that_has_computed_with_other_kernels_is_refused():
    (outcome, capability, _), _ = new_process(before="import torch; torch.ones(8).sin()\n")
    chosen = capability.split()[0]
    if chosen == "AVX2":
        # torch's kernels are right by chance; MKL has chosen others on some CPUs
        assert outcome == "portable checked" or "MKL runs branch" in outcome
    else:
        assert outcome.startswith("refused: Portable arithmetic could not be set up: ")
        assert f"torch had already chosen {chosen} kernels; start a fresh process" in outcome


def test_fast_arithmetic_with_only_avx2_does_not_count_as_portable():
    (outcome, capability, environment), _ = new_process("fast", ATEN_CPU_CAPABILITY="avx2")
    assert (outcome, capability) == ("fast unchecked", "AVX2 3")
    assert eval(environment)["MKL_CBWR"] is None


def test_fast_arithmetic_set_up_in_a_portable_process_is_fast(arithmetic):
    assert torch.backends.cpu.get_cpu_capability() == "AVX2"
    fast = setup_numerics(FAST)
    assert not fast.portable
    assert type(fast.products) is not type(arithmetic.products) or fast.products._check is None
    assert arithmetic.portable
    assert arithmetic.products._check is not None


def test_other_kernels_are_refused(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert "torch had already chosen AVX512 kernels" in fault_of(setup_numerics, PORTABLE)
    assert not setup_numerics(FAST).portable


def test_torch_without_onednn_is_refused(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert "torch build with oneDNN" in fault_of(setup_numerics, PORTABLE)


@pytest.mark.parametrize("branch", [1, 2, 9])
def test_other_branch_of_mkl_is_refused(monkeypatch, branch):
    monkeypatch.setattr(numerics, "_mkl_reproducibility_branch", lambda: branch)
    assert f"MKL runs branch {branch} instead" in fault_of(setup_numerics, PORTABLE)


@pytest.mark.parametrize("branch", [None, 3])
def test_compatible_or_silent_mkl_is_accepted(monkeypatch, branch):
    monkeypatch.setattr(numerics, "_mkl_reproducibility_branch", lambda: branch)
    assert setup_numerics(PORTABLE).portable


def test_a_cpu_or_a_build_that_rounds_differently_is_refused(monkeypatch):
    monkeypatch.setattr(numerics, "golden_probe", lambda _: "0123456789abcdef")
    message = fault_of(setup_numerics, PORTABLE).replace(torch.__version__, "VERSION")
    assert f"gave 0123456789abcdef instead of {numerics._GOLDEN}" in message
    assert "this torch build (VERSION)" in message
    assert not setup_numerics(FAST).portable


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_probe_gives_the_same_with_any_number_of_threads(arithmetic, threads):
    torch.set_num_threads(threads)
    assert numerics.golden_probe(arithmetic) == numerics._GOLDEN


def test_the_probe_notices_different_rounding(arithmetic):
    fast = replace(arithmetic, portable=False)
    assert numerics.golden_probe(fast) != numerics._GOLDEN


@pytest.mark.parametrize("reason", ["Linux on aarch64", "a CPU without AVX2"])
def test_a_machine_that_cannot_be_portable_is_refused_and_left_as_it_was(monkeypatch, reason):
    monkeypatch.setattr(numerics, "hindrance", lambda: reason)
    monkeypatch.setattr(os, "environ", {"OMP_DYNAMIC": "TRUE"})
    message = fault_of(setup_numerics, PORTABLE)
    assert message.endswith(f"and this is {reason}; set numerics.mode to 'fast'.")
    assert os.environ == {"OMP_DYNAMIC": "TRUE"}
    assert not setup_numerics(FAST).portable


def test_on_another_processor_torch_multiplies_by_itself_and_is_told_nothing_of_x86():
    """Only oneDNN's limit for x86-64 keeps what is sent to it from rounding to bfloat16."""
    elsewhere = "import platform; platform.machine = lambda: 'aarch64'\n"
    after = f"""
from tinyllm.kernels.arithmetic import default_arithmetic
print(products.by_mkl, default_arithmetic().products.by_mkl)
print(torch.backends.mkldnn.matmul.fp32_precision, os.environ.get("{ONEDNN_LIMIT}"))
"""
    (*_, products, told), _ = new_process("fast", before=elsewhere, after=after)
    assert (products, told) == ("True True", "none None")
    (outcome, *_), _ = new_process("portable", before=elsewhere, after="\nproducts = None")
    assert outcome.startswith("refused: Portable arithmetic needs Linux on an x86-64 CPU")


@pytest.mark.parametrize("cores", [1, 2, 8])
@pytest.mark.parametrize("threads", [1, 3])
def test_only_where_bytes_depend_on_them_threads_may_outnumber_the_cores(
    monkeypatch, threads, cores
):
    monkeypatch.setattr(numerics, "usable_cores", lambda: cores)
    setup_numerics(NumericsConfig(mode="portable", threads=threads))
    assert torch.get_num_threads() == min(threads, cores)
    setup_numerics(NumericsConfig(mode="fast", threads=threads))
    assert torch.get_num_threads() == threads


def test_fast_mode_limits_onednn_to_float32_and_nothing_else(monkeypatch, machine):
    machine()
    monkeypatch.setattr(numerics, "cpu_flags", lambda: AVX512_FLAGS)
    monkeypatch.setattr(numerics, "multiplies_bfloat16", lambda: False)
    before = {"OMP_DYNAMIC": "TRUE", "OMP_WAIT_POLICY": "PASSIVE"}
    monkeypatch.setattr(os, "environ", dict(before))
    setup_numerics(NumericsConfig(mode="fast", precision="bfloat16"))
    assert os.environ == before
    setup_numerics(FAST)
    assert os.environ == {**before, ONEDNN_LIMIT: "AVX512_CORE"}


@pytest.fixture
def environment_of_torch(monkeypatch):
    """The environment in which torch would be imported."""

    def stop_there(config, given):
        others = {k: v for k, v in os.environ.items() if not k.startswith(("GOMP_", "OMP_"))}
        monkeypatch.setattr(os, "environ", others | given)
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "torch", None)
            with pytest.raises(ImportError, match="torch"):
                setup_numerics(config)
        return dict(os.environ)

    return stop_there


@pytest.mark.parametrize("config", [PORTABLE, FAST])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "30000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "PASSIVE"}, "0"),
    ],
)
def test_the_openmp_spin_count_is_set_before_torch_loads_it(
    environment_of_torch, config, given, expected
):
    """OpenMP itself reports its settings when it is loaded."""
    library = next((Path(torch.__file__).parent / "lib").glob("libgomp*"))
    result = subprocess.run(
        [sys.executable, "-c", f"import ctypes; ctypes.CDLL({str(library)!r})"],
        env=environment_of_torch(config, given) | {"OMP_DISPLAY_ENV": "VERBOSE"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.search(rf"GOMP_SPINCOUNT = '{expected}'", result.stderr)


AVX512 = {"avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_bf16", "amx_tile"}


@pytest.mark.parametrize(
    ("flags", "inherited", "expected"),
    [
        (AVX512, None, "AVX512_CORE"),
        (AVX512, "avx2", "AVX2"),
        (AVX512, "DEFAULT", "AVX512_CORE"),
        (AVX512 - {"avx512vl"}, None, "AVX2"),
        ({"avx2", "fma"}, "AVX512_CORE_AMX", "AVX2"),
        (set(), None, "AVX2"),
    ],
)
def test_onednn_may_use_the_widest_vectors_that_agree(monkeypatch, flags, inherited, expected):
    monkeypatch.setattr(numerics, "cpu_flags", lambda: flags)
    monkeypatch.setattr(os, "environ", {ONEDNN_LIMIT: inherited} if inherited else {})
    assert numerics._widest_vectors() == expected


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_missing_device_is_reported(machine, device):
    machine()
    config = NumericsConfig(mode="fast", device=device)
    for function in (choose_device, setup_numerics):
        message = fault_of(function, config).replace(torch.__version__, "VERSION")
        assert message.startswith(f"numerics.device is '{device}', but torch VERSION finds no")


@pytest.mark.parametrize(
    ("mode", "asked", "devices", "expected"),
    [
        ("portable", "auto", (), "cpu"),
        ("portable", "auto", ("cuda", "mps"), "cpu"),
        ("portable", "cpu", ("cuda",), "cpu"),
        ("fast", "auto", (), "cpu"),
        ("fast", "auto", ("cuda",), "cuda"),
        ("fast", "auto", ("mps",), "mps"),
        ("fast", "auto", ("mps", "cuda"), "cuda"),
        ("fast", "cpu", ("cuda",), "cpu"),
        ("fast", "cuda", ("cuda",), "cuda"),
        ("fast", "mps", ("mps", "cuda"), "mps"),
    ],
)
def test_choose_device(machine, mode, asked, devices, expected):
    machine(*devices)
    assert choose_device(NumericsConfig(mode=mode, device=asked)) == torch.device(expected)


@pytest.mark.parametrize(
    ("devices", "quick", "precision", "expected"),
    [
        ((), False, "auto", torch.float32),
        ((), True, "auto", torch.bfloat16),
        ((), True, "float32", torch.float32),
        ((), False, "bfloat16", torch.bfloat16),
        (("mps",), True, "auto", torch.float32),
        (("cuda",), False, "auto", torch.bfloat16),
        (("cuda",), True, "float32", torch.float32),
    ],
)
def test_precision(machine, monkeypatch, devices, quick, precision, expected):
    """On the CPU it depends on whether that multiplies bfloat16 quickly."""
    machine(*devices)
    monkeypatch.setattr(numerics, "multiplies_bfloat16", lambda: quick)
    config = NumericsConfig(mode="fast", precision=precision)
    assert setup_numerics(config).precision == expected


@pytest.mark.parametrize("wanted", [True, False])
def test_what_is_compiled_is_the_plain_model(machine, wanted):
    machine()
    found = setup_numerics(NumericsConfig(mode="fast", precision="float32", compile=wanted))
    assert found.compiler == ("inductor" if wanted else "")
    assert found.fused == (not wanted)


def test_portable_arithmetic_never_rounds_to_bfloat16(machine, monkeypatch):
    machine()
    monkeypatch.setattr(numerics, "multiplies_bfloat16", lambda: True)
    found = setup_numerics(PORTABLE)
    assert (found.precision, found.products.in_bfloat16) == (torch.float32, False)


@pytest.mark.parametrize(("devices", "fixed"), [(("cuda",), True), ((), False)])
def test_cublas_has_one_accumulation_order(machine, devices, fixed):
    machine(*devices)
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
    setup_numerics(FAST)
    assert (os.environ.get("CUBLAS_WORKSPACE_CONFIG") == ":4096:8") is fixed
