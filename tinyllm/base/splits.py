"""The splits of a corpus: for training, for choosing the best weights, for reporting."""

SPLITS = ("train", "val", "test")


def shard_name(split: str, number: int, ending: str) -> str:
    """The name of a file that holds a part of a split, such as `train-00000.txt`."""
    return f"{split}-{number:05d}.{ending}"


def shard_patterns(ending: str) -> tuple[str, ...]:
    """Patterns of such names, and of `train.txt`, in which a split once was whole."""
    # of five digits or, beyond some terabytes, of six
    digits = ("[0-9]" * count for count in (5, 6))
    numbered = tuple(f"{name}-{number}.{ending}" for number in digits for name in SPLITS)
    return (*numbered, *(f"{name}.{ending}" for name in SPLITS))
