"""From raw files to three clean, contiguous splits and a summary of them."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinyllm.base.errors import ConfigError, TinyLLMError
from tinyllm.base.files import write_json, write_text
from tinyllm.base.outs import OutFolder, check_places
from tinyllm.base.replacing import new_directory
from tinyllm.base.splits import SPLITS
from tinyllm.corpus.clean import clean_text
from tinyllm.corpus.config import PrepareConfig
from tinyllm.corpus.read import find_files, read_text

PREPARED = OutFolder(
    writer="tinyllm prepare",
    files=(*(f"{name}.txt" for name in SPLITS), "summary.json"),
    mark="summary.json",
    sign=frozenset({"files", *SPLITS}),
)


def prepare_corpus(config: PrepareConfig, out: Path) -> dict[str, Any]:
    """Read, clean and split the corpus; write `train.txt val.txt test.txt summary.json`.

    Args:
        config: where the corpus is, how it is cleaned and split.
        out: the folder to write; an earlier one is replaced.

    Returns:
        The summary: characters, bytes, lines, fingerprint and alphabet of each split.

    Raises:
        ConfigError: `out` holds something else, or overlaps with the corpus.
        TinyLLMError: no corpus, an unreadable or undecodable file, or too little text.
    """
    source = Path(config.source)
    check_places({"--out": (out, PREPARED)}, {"prepare.source": source})
    files = find_files(source, config.pattern)
    _refuse_links_into(out, files)
    texts = [clean_text(read_text(path, config.encoding), config) for path in files]
    if not any(text.strip() for text in texts):
        raise TinyLLMError(f"The corpus at {source} is empty; put some text into it.")
    pieces = texts if config.split_by == "file" else ["".join(texts)]
    splits = split_texts(pieces, config.val_fraction, config.test_fraction)
    for name, text in splits.items():
        if not text and (name != "test" or config.test_fraction > 0):
            raise TinyLLMError(
                f"The corpus at {source} has {sum(map(len, texts))} characters, too few to leave "
                f"any for {name}; add text, or change prepare.{name}_fraction."
            )
    summary = {"files": len(files), **{name: describe(text) for name, text in splits.items()}}
    with new_directory(out, PREPARED) as folder:
        for name, text in splits.items():
            write_text(folder / f"{name}.txt", text)
        write_json(folder / "summary.json", summary)
    return summary


def split_texts(texts: Sequence[str], val_fraction: float, test_fraction: float) -> dict[str, str]:
    """Cut each text into train, val and test, in this order, and join the parts of each split.

    Each part is contiguous: test text never lies inside training text.
    """
    parts: dict[str, list[str]] = {name: [] for name in SPLITS}
    for text in texts:
        test_start = len(text) - round(len(text) * test_fraction)
        val_start = test_start - round(len(text) * val_fraction)
        parts["train"].append(text[:val_start])
        parts["val"].append(text[val_start:test_start])
        parts["test"].append(text[test_start:])
    return {name: "".join(pieces) for name, pieces in parts.items()}


def describe(text: str) -> dict[str, Any]:
    """Counts, SHA-256 fingerprint and alphabet (characters by code point, with counts)."""
    data = text.encode("utf-8")
    return {
        "characters": len(text),
        "bytes": len(data),
        "lines": text.count("\n"),
        "fingerprint": hashlib.sha256(data).hexdigest(),
        "alphabet": dict(sorted(Counter(text).items())),
    }


def _refuse_links_into(out: Path, files: Sequence[Path]) -> None:
    """Reject files of the corpus that are links into the folder about to be replaced."""
    for file in files:
        if file.resolve().is_relative_to(out.resolve()):
            raise ConfigError(
                f"{file} in the corpus is a link into the folder to write, {out}; name another."
            )
