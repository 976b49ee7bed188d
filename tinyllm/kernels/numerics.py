"""Sets up portable arithmetic before torch computes, and checks it afterwards.

Two runs of the same program agree to the byte on one machine, but not on two, because torch,
oneDNN and MKL choose their kernels by CPU. Mode `portable` makes them choose kernels that give the
same bits on every x86-64 CPU with AVX2: torch's own for AVX2, and oneDNN's for AVX2 or AVX-512,
which agree as `tinyllm.kernels.products` uses them. Mode `fast` leaves the choice to the libraries.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyllm.base.cores import usable_cores
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.imports import without_collections
from tinyllm.kernels.config import NumericsConfig
from tinyllm.kernels.machine import (
    AVX512_FLAGS,
    cpu_flags,
    hindrance,
    is_x86,
    multiplies_bfloat16,
)

if TYPE_CHECKING:
    import torch

    from tinyllm.kernels.arithmetic import Arithmetic

PORTABLE_ENVIRONMENT = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "COMPATIBLE"}
# the widest vectors that oneDNN may use; a user may set it to AVX2, which is slower
ONEDNN_LIMIT = "ONEDNN_MAX_CPU_ISA"
# result of `golden_probe` with the wheels of requirements/ on every CPU tried
_GOLDEN = "22b48078e1fc7a23"
_DANGEROUS_ENVIRONMENT = ("OMP_DYNAMIC", "OMP_THREAD_LIMIT", "MKL_DYNAMIC")
# Iterations, 1/2 to 2 ms, for which a waiting thread spins before it sleeps. OpenMP's default is
# ten times that, longer than a time slice: a busy machine then spends most of its time spinning.
_SPIN, _SPIN_TURNS = "GOMP_SPINCOUNT", "30000"
_WAIT_POLICY = "OMP_WAIT_POLICY"
_MKL_CBWR_COMPATIBLE = 3
_MKL_CBWR_ALL = 1


def setup_numerics(config: NumericsConfig, *, processes: int = 1) -> Arithmetic:
    """Set up the arithmetic of this process and choose device and precision.

    Must run before the first torch operation of the process: kernels are chosen once.

    Args:
        config: device, precision, reproducibility, and the threads of each process.
        processes: how many processes share the threads.

    Raises:
        TinyLLMError: the device or portable arithmetic is not available on this machine; the
            message names the reason and what to do.
    """
    portable = config.mode == "portable"
    if portable:
        _refuse_foreign_machine()
        os.environ.update(PORTABLE_ENVIRONMENT)
        for name in _DANGEROUS_ENVIRONMENT:
            os.environ.pop(name, None)
    rounds = config.precision == "bfloat16" or (
        config.precision == "auto" and not portable and multiplies_bfloat16()
    )
    exact = is_x86() and not rounds
    if exact:
        os.environ[ONEDNN_LIMIT] = _widest_vectors()
    if _WAIT_POLICY not in os.environ:
        # read when torch loads OpenMP; the user's choice takes precedence
        os.environ.setdefault(_SPIN, _SPIN_TURNS)
    _import_torch()
    import torch  # noqa: PLC0415 - the environment has to be set first

    from tinyllm.kernels.arithmetic import Arithmetic  # noqa: PLC0415 - as above
    from tinyllm.kernels.compilation import COMPILER, check_compiler  # noqa: PLC0415 - as above
    from tinyllm.kernels.contention import Contention  # noqa: PLC0415 - as above
    from tinyllm.kernels.products import (  # noqa: PLC0415 - as above
        Bfloat16Products,
        choose_products,
        send_products_to_onednn,
    )

    threads = config.threads * config.processes // processes
    # threads without a core of their own wait for each other; in fast mode they would change bytes
    torch.set_num_threads(min(threads, usable_cores()) if portable else threads)
    # use_deterministic_algorithms would do the same, but imports torch's compiler, which takes
    # as long as importing torch
    torch.set_deterministic_debug_mode("error")
    # would fill every new tensor, but we never read uninitialized memory
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # torch has no types for it
    _keep_freed_memory()
    products = Bfloat16Products() if rounds else choose_products(portable=portable)
    if exact and not products.by_mkl:
        send_products_to_onednn()
        products = choose_products(portable=portable)
    device = choose_device(config)
    if config.precision == "auto":
        rounds = device.type == "cuda" or (device.type == "cpu" and rounds)
    precision = torch.bfloat16 if rounds else torch.float32
    if device.type == "cuda":
        # without it cuBLAS may change its accumulation order from run to run
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    contention = Contention(torch.get_num_threads() if device.type == "cpu" else 1)
    if config.compile:
        check_compiler(device)
    compiler = COMPILER if config.compile else ""
    arithmetic = Arithmetic(device, precision, portable, products, compiler, contention)
    if portable:
        _check_portable(arithmetic)
    return arithmetic


def choose_device(config: NumericsConfig) -> torch.device:
    """Return the device to compute on.

    Raises:
        TinyLLMError: the configured device is not available.
    """
    import torch  # noqa: PLC0415 - see setup_numerics

    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if config.device != "auto":
        if not available[config.device]:
            raise TinyLLMError(
                f"numerics.device is '{config.device}', but torch {torch.__version__} finds no "
                f"such device here; use 'auto' or 'cpu'."
            )
        return torch.device(config.device)
    if config.mode == "portable":
        return torch.device("cpu")
    return torch.device(next(name for name in ("cuda", "mps", "cpu") if available[name]))


def _import_torch() -> None:
    if "torch" in sys.modules:
        return
    # torch imports what is installed for devices other than ours, and fails if that does
    os.environ.setdefault("TORCH_DEVICE_BACKEND_AUTOLOAD", "0")
    with without_collections():
        import torch  # noqa: F401, PLC0415 - see setup_numerics


def _widest_vectors() -> str:
    """The limit for oneDNN: beyond basic AVX-512 it sometimes rounds to bfloat16."""
    has_avx512 = cpu_flags() >= AVX512_FLAGS
    wanted = os.environ.get(ONEDNN_LIMIT, "").upper()
    return "AVX512_CORE" if has_avx512 and wanted != "AVX2" else "AVX2"


def _refuse_foreign_machine() -> None:
    if reason := hindrance():
        raise TinyLLMError(
            f"Portable arithmetic needs Linux on an x86-64 CPU with AVX2 and FMA, and this is "
            f"{reason}; set numerics.mode to 'fast'."
        )


def _check_portable(arithmetic: Arithmetic) -> None:
    import torch  # noqa: PLC0415 - see setup_numerics

    capability = torch.backends.cpu.get_cpu_capability()
    if capability != "AVX2":
        raise TinyLLMError(
            f"Portable arithmetic could not be set up: torch had already chosen {capability} "
            f"kernels; start a fresh process, or set numerics.mode to 'fast'."
        )
    if not torch.backends.mkldnn.is_available():
        raise TinyLLMError(
            "Portable arithmetic needs a torch build with oneDNN, and this one has none; "
            "set numerics.mode to 'fast'."
        )
    branch = _mkl_reproducibility_branch()
    if branch not in (None, _MKL_CBWR_COMPATIBLE):
        raise TinyLLMError(
            f"Portable arithmetic could not be set up: MKL runs branch {branch} instead of "
            f"COMPATIBLE; start a fresh process, or set numerics.mode to 'fast'."
        )
    if (found := golden_probe(arithmetic)) != _GOLDEN:
        raise TinyLLMError(
            f"Portable arithmetic does not hold here: a test computation gave {found} instead of "
            f"{_GOLDEN}, so this torch build ({torch.__version__}) or this CPU rounds differently; "
            f"install the versions of requirements/, or set numerics.mode to 'fast'."
        )


def golden_probe(arithmetic: Arithmetic) -> str:
    """Hash of a small computation with the operations of training, on this CPU and wheel."""
    import torch  # noqa: PLC0415 - see setup_numerics
    from torch.nn import functional as F  # noqa: PLC0415 - see setup_numerics
    from torch.optim.adamw import adamw  # noqa: PLC0415 - see setup_numerics

    from tinyllm.kernels.functional import norm_swiglu  # noqa: PLC0415 - see setup_numerics

    generator = torch.Generator().manual_seed(20)
    weight = torch.nn.Parameter(torch.randn(32, 48, generator=generator))
    norm = torch.nn.RMSNorm(48, 1e-6).requires_grad_(requires_grad=False)
    norm.weight.copy_(torch.linspace(0.5, 1.5, 48))
    # more tokens than one sum may have, so that the weight's gradient has two parts
    x = torch.randn(5, 112, 48, generator=generator)
    # the function, since a torch.optim.Optimizer imports torch's compiler
    means, squares, step = torch.zeros_like(weight), torch.zeros_like(weight), torch.zeros(())
    rates: dict[str, Any] = {"lr": 0.1, "beta1": 0.9, "beta2": 0.999, "weight_decay": 0.01}
    update = {**rates, "eps": 1e-8, "fused": True, "amsgrad": False, "maximize": False}
    for _ in range(2):
        hidden = F.rms_norm(norm_swiglu(x, norm, weight, arithmetic), (16,))
        pairs = arithmetic.products.multiply_pairs(hidden.detach(), hidden.detach().mT)
        mixed = torch.softmax(pairs, dim=-1)
        loss = F.cross_entropy(hidden.flatten(0, 1), torch.arange(5 * 112) % 16)
        objective = loss + (hidden * mixed[..., :16]).mean()
        gradients = torch.autograd.grad(objective, [weight])
        with torch.no_grad():
            adamw([weight], list(gradients), [means], [squares], [], [step], **update)
    return hashlib.sha256(weight.detach().numpy().tobytes()).hexdigest()[:16]


def _mkl_reproducibility_branch() -> int | None:
    """MKL's conditional numerical reproducibility branch; None if unknown."""
    import torch  # noqa: PLC0415 - see setup_numerics

    library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    try:
        return int(ctypes.CDLL(str(library)).mkl_serv_cbwr_get(_MKL_CBWR_ALL))
    except (OSError, AttributeError):
        return None


def _keep_freed_memory() -> None:
    """Ask the C library to reuse large blocks instead of returning them to the system.

    Otherwise the kernel maps and zeroes every activation again at each step, which costs a tenth
    of the training time.
    """
    mmap_threshold, trim_threshold = -3, -1
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(mmap_threshold, 1 << 30)
    mallopt(trim_threshold, (1 << 31) - 1)
