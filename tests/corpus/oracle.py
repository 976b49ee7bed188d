"""What the prepare stage must give, on whole texts in memory: simple, and slow."""

import io

from tinyllm.base.splits import SPLITS


def split_texts(texts, val_fraction, test_fraction):
    """Cut each text into train, val and test, in this order, and join the parts of each split."""
    parts = {name: [] for name in SPLITS}
    for text in texts:
        test_start = len(text) - round(len(text) * test_fraction)
        val_start = test_start - round(len(text) * val_fraction)
        parts["train"].append(text[:val_start])
        parts["val"].append(text[val_start:test_start])
        parts["test"].append(text[test_start:])
    return {name: "".join(pieces) for name, pieces in parts.items()}


def deal_lines(texts, val_fraction, test_fraction):
    """Deal the lines of each text out to train, val and test in turn, by characters."""
    parts = {name: [] for name in SPLITS}
    shares = {"test": test_fraction, "val": val_fraction}
    for text in texts:
        seen = 0
        sizes = dict.fromkeys(SPLITS, 0)
        for line in io.StringIO(text, newline="\n"):
            seen += len(line)
            due = (name for name in shares if sizes[name] + len(line) <= seen * shares[name])
            name = next(due, "train")
            sizes[name] += len(line)
            parts[name].append(line)
    return {name: "".join(pieces) for name, pieces in parts.items()}


def split(texts, config):
    """The splits of clean texts."""
    pieces = ["".join(texts)] if config.split_by == "corpus" else texts
    by = deal_lines if config.split_by == "lines" else split_texts
    return by(pieces, config.val_fraction, config.test_fraction)
