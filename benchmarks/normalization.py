"""Unicode normalization beside unicodedata's.

    python benchmarks/normalization.py

Normalizes a made-up text of some hundred thousand characters to NFC (see large_text.py): the best
of five of each, in turn, and their ratio.
"""

import time
import unicodedata

from large_text import block

from tinyllm.base.normalization import normalize


def seconds(form: str, text: str) -> tuple[float, float]:
    """The least time that unicodedata takes, and that of ours."""
    theirs, ours = [], []
    for _ in range(5):
        for times, way in ((theirs, unicodedata.normalize), (ours, normalize)):
            since = time.perf_counter()
            way(form, text)
            times.append(time.perf_counter() - since)
    return min(theirs), min(ours)


if __name__ == "__main__":
    for kind in ("ascii", "mixed"):
        sample = block(kind, 0).decode()[:500_000]
        theirs, ours = seconds("NFC", sample)
        print(f"{kind}: {theirs * 1e3:.2f} ms and {ours * 1e3:.2f} ms, {theirs / ours:.1f} times")
