"""What this machine can compute: everywhere the same bytes, or only the same figures."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

from tinyllm.kernels.config import NumericsConfig

AVX512_FLAGS = {"avx512f", "avx512bw", "avx512vl", "avx512dq"}
_X86 = ("x86_64", "AMD64")
_SYSTEMS = {"darwin": "macOS", "linux": "Linux", "win32": "Windows"}


def hindrance() -> str | None:
    """Why portable arithmetic cannot hold on this machine, such as `Linux on aarch64`; else None.

    What the user can mend, such as another build of torch, is no hindrance: setting up the
    arithmetic then fails and says what to do.
    """
    if sys.platform != "linux" or not is_x86():
        return f"{_SYSTEMS.get(sys.platform, sys.platform)} on {platform.machine()}"
    flags = cpu_flags()
    missing = [name.upper() for name in ("avx2", "fma") if flags and name not in flags]
    return f"a CPU without {' and '.join(missing)}" if missing else None


def possible_here(config: NumericsConfig) -> NumericsConfig:
    """The config as this machine can follow it.

    Where portable arithmetic cannot hold, this is mode `fast`, still in float32 on the CPU: the
    figures agree with portable ones as those of different seeds do, if not better. Whoever wants a
    GPU says so.
    """
    if config.mode == "fast" or hindrance() is None:
        return config
    return config.model_copy(update={"mode": "fast", "device": "cpu", "precision": "float32"})


def multiplies_bfloat16() -> bool:
    """Whether products in bfloat16 are about twice as quick here as in float32, or better.

    Intel's CPUs need their matrix units for that, AMD's do it with AVX-512.
    """
    flags = cpu_flags()
    return "amx_bf16" in flags or ("avx512_bf16" in flags and cpu_vendor() == "AuthenticAMD")


def is_x86() -> bool:
    """Whether this is an x86-64 processor."""
    return platform.machine() in _X86


def cpu_flags() -> set[str]:
    """The features of an x86-64 CPU, as Linux names them; empty if unknown."""
    return set(_fact("flags").split())


def cpu_vendor() -> str:
    """Who made an x86-64 CPU, such as `GenuineIntel`; empty if unknown."""
    return _fact("vendor_id")


def _fact(name: str) -> str:
    """What Linux says of the first CPU; empty if unknown."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    facts = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in facts if key.strip() == name), "")
