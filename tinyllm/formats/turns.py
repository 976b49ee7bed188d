"""Angles of late positions, exact in single precision.

A browser's ONNX Runtime knows no double precision, and in single precision a position times its
frequency is wrong by a thousandth of a radian after ten thousand characters.
"""

import numpy as np
from numpy.typing import NDArray

# a product of two whole numbers of 12 bits is exact in single precision
_STEP = 4096


def split_turns(
    frequencies: list[float],
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Split turns = position * frequency / (2 pi) into four products, exact but for whole turns.

    Args:
        frequencies: radians per position, [n].

    Returns:
        Masks, [4], of the bits of a position that take part in each product: its last 12, the 12
        before them (beyond 2 ** 24 positions start at zero again), and both once more. And the
        factors, [4, n]: for each half of a position a number of 12 bits, then what that leaves.
    """
    turns = np.array(frequencies) / (2 * np.pi)
    # by what a step of 4096 positions turns, without the whole turns
    turns = np.stack([turns, np.fmod(turns * _STEP, 1) / _STEP])
    mantissa, exponent = np.frexp(turns)
    leading = np.ldexp(np.floor(mantissa * _STEP) / _STEP, exponent)
    masks = np.array([_STEP - 1, (_STEP - 1) * _STEP] * 2)
    return masks, np.concatenate([leading, turns - leading]).astype(np.float32)
