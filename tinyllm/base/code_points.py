"""The characters of a text as an array of integers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def code_points(text: str) -> NDArray[Any]:
    """Return the code points of a text: [characters].

    Their type is the smallest of uint8, uint16 and uint32 that holds all of them: most texts are
    worked on several times as quickly in one byte a character as in four.
    """
    try:
        return np.frombuffer(text.encode("latin-1"), dtype=np.uint8)
    except UnicodeEncodeError:
        data = text.encode("utf-16-le", "surrogatepass")
    if len(data) == 2 * len(text):
        return np.frombuffer(data, dtype="<u2")
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
