"""The plain model by torch's compiler, for devices on which starting operations is what takes long.

The first step then takes a minute or so. On CUDA the passes are also recorded as CUDA graphs.
"""

import importlib.util
import os
import shutil
from typing import TYPE_CHECKING, cast

from tinyllm.base.errors import TinyLLMError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from tinyllm.kernels.arithmetic import Arithmetic
    from tinyllm.model.transformer import Transformer

COMPILER = "inductor"
_CPP_COMPILERS = ("g++", "clang++")


def check_compiler(device: "torch.device") -> None:
    """Check that torch's compiler has what it needs on a device.

    Raises:
        TinyLLMError: it has not; the message says what is missing.
    """
    if device.type == "cuda":
        needed, found = "the package triton", importlib.util.find_spec("triton") is not None
    else:
        known = (os.environ.get("CXX", ""), *_CPP_COMPILERS)
        needed, found = "a C++ compiler such as g++", any(map(shutil.which, filter(None, known)))
    if not found:
        raise TinyLLMError(
            f"numerics.compile needs {needed}, which is not installed; install it, or set "
            f"numerics.compile to false."
        )


def compiled(network: "nn.Module", arithmetic: "Arithmetic", *, accumulates: bool) -> "nn.Module":
    """A network whose passes are compiled when it is first called; it shares its weights.

    Args:
        network: the plain model, or what exchanges its gradients.
        arithmetic: where it computes, and by which compiler.
        accumulates: whether the gradients of several microbatches are added up.
    """
    import torch  # noqa: PLC0415 - after the environment is set

    # a replayed graph writes its gradients to the same place, where the earlier ones still are
    graphs = arithmetic.device.type == "cuda" and not accumulates
    mode = "reduce-overhead" if graphs else None
    whole = torch.compile(network, backend=arithmetic.compiler, mode=mode, dynamic=False)
    return cast("nn.Module", whole)


def compile_blocks(model: "Transformer", arithmetic: "Arithmetic") -> None:
    """Have each block compiled by itself, between the exchanges of a model that is shared out."""
    for block in model.blocks:
        block.compile(backend=arithmetic.compiler, dynamic=False)
