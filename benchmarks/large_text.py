"""Write a text of any size that is made up, but has words, lines and paragraphs as texts have.

    python benchmarks/large_text.py SIZE FILE [ascii|mixed]

SIZE is in bytes, with K, M or G for powers of 1000. The same size and kind give the same bytes.
`ascii` has one character in a thousand beyond ASCII, `mixed` has words of nine scripts, accents as
combining marks too, and emoji. A block of some megabytes is made for each of 32 seeds, and the text
is a sequence of such blocks.
"""

import random
import sys
from pathlib import Path

_UNITS = {"K": 10**3, "M": 10**6, "G": 10**9}
_BLOCKS, _WORDS, _OF_BLOCK = 32, 4000, 400_000
# first and last letter of scripts that mixed texts take their words from
_SCRIPTS = ("az", "az", "az", "ая", "αω", "את", "كي", "कह", "あん", "一丿", "가깋")
_RARE = {"ascii": ("é", 1000), "mixed": ("e\u0301", 60)}


def words(kind: str, rng: random.Random) -> list[str]:
    """A vocabulary, the frequent words first and short."""
    scripts = _SCRIPTS[:1] if kind == "ascii" else _SCRIPTS
    found = []
    for rank in range(_WORDS):
        first, last = map(ord, rng.choice(scripts))
        length = rng.randint(1 + rank.bit_length() // 3, 3 + rank.bit_length() // 2)
        found.append("".join(chr(rng.randint(first, last)) for _ in range(length)))
    mark, every = _RARE[kind]
    found[-1] += mark
    return [word + mark if not (rank + 1) % every else word for rank, word in enumerate(found)]


def block(kind: str, number: int) -> bytes:
    """Some megabytes of text."""
    rng = random.Random(f"{kind} {number}")
    vocabulary = words(kind, random.Random(kind))
    weights = [1 / (rank + 3) for rank in range(_WORDS)]
    ends = rng.choices(
        [" ", ", ", ". ", "\n", ".\n\n", " 😀 "], [80, 8, 4, 6, 1, kind == "mixed"], k=_OF_BLOCK
    )
    chosen = rng.choices(vocabulary, weights, k=_OF_BLOCK)
    return "".join(part for pair in zip(chosen, ends, strict=True) for part in pair).encode()


def write(size: int, path: Path, kind: str) -> None:
    """Write a text of `size` bytes; newlines stand for a last character that does not fit."""
    blocks = [block(kind, number) for number in range(min(_BLOCKS, 1 + size // 2_000_000))]
    order = random.Random(0)
    with path.open("wb") as file:
        while size > 0:
            data = order.choice(blocks)
            if len(data) > size:
                data = data[:size].decode("utf-8", "ignore").encode().ljust(size, b"\n")
            file.write(data)
            size -= len(data)


def parse_size(text: str) -> int:
    """A number of bytes, such as `10M`."""
    unit = _UNITS.get(text[-1:].upper(), 1)
    return int(float(text[:-1] if unit > 1 else text) * unit)


if __name__ == "__main__":
    _, amount, place, *rest = sys.argv
    write(parse_size(amount), Path(place), rest[0] if rest else "ascii")
