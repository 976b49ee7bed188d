"""Importing large packages."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def without_collections() -> Iterator[None]:
    """Import large packages in the block without looking for garbage.

    A package makes hundreds of thousands of objects that stay, and Python looks through them again
    and again while it makes more, which takes a tenth of the time or more. Afterwards it no longer
    looks through whatever exists by then.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
