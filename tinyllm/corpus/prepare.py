"""From raw files to three clean, contiguous splits and a summary of them."""

import hashlib
import io
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tinyllm.base.errors import ConfigError, TinyLLMError
from tinyllm.base.files import write_json, write_text
from tinyllm.base.outs import OutFolder, check_places
from tinyllm.base.replacing import new_directory
from tinyllm.base.splits import SPLITS
from tinyllm.base.text import plain
from tinyllm.corpus.clean import clean_text, has_gutenberg
from tinyllm.corpus.config import PrepareConfig
from tinyllm.corpus.find import survey
from tinyllm.corpus.order import drifts, is_in_order
from tinyllm.corpus.read import DETECT, decode, read_bytes

_log = logging.getLogger(__name__)
_NAMED = 3
# characters; less than that is no text
_LINE = 20
# files; so few that are so short make no corpus anyhow
_MANY = 10

PREPARED = OutFolder(
    writer="tinyllm prepare",
    files=(*(f"{name}.txt" for name in SPLITS), "summary.json"),
    mark="summary.json",
    sign=frozenset({"files", *SPLITS}),
)


def prepare_corpus(
    config: PrepareConfig, out: Path, tell: Callable[[str], object] = lambda _line: None
) -> dict[str, Any]:
    """Read, clean and split the corpus; write `train.txt val.txt test.txt summary.json`.

    Args:
        config: where the corpus is, how it is cleaned and split.
        out: the folder to write; an earlier one is replaced.
        tell: receives lines that say which files were taken, left out, and read as what.

    Returns:
        The summary: characters, bytes, lines, fingerprint and alphabet of each split.

    Raises:
        ConfigError: `out` holds something else, or overlaps with the corpus.
        TinyLLMError: no corpus, an unreadable or undecodable file, or too little text.
    """
    source = Path(config.source)
    check_places({"--out": (out, PREPARED)}, {"prepare.source": source})
    found = survey(source, config.pattern)
    tell(f"{plain(config.source)}: {found.describe()}")
    _refuse_links_into(out, found.taken)
    texts = _read_all(found.taken, config, tell)
    if not any(text.strip() for text in texts):
        raise TinyLLMError(f"The corpus at {source} is empty; put some text into it.")
    pieces = ["".join(texts)] if config.split_by == "corpus" else texts
    split = deal_lines if config.split_by == "lines" else split_texts
    splits = split(pieces, config.val_fraction, config.test_fraction)
    for name, text in splits.items():
        if not text and (name != "test" or config.test_fraction > 0):
            unit = "lines" if config.split_by == "lines" else "characters"
            lines = sum(len(text.splitlines()) for text in texts)
            count = lines if unit == "lines" else sum(map(len, texts))
            raise TinyLLMError(
                f"The corpus at {source} has {count} {unit}, too few to leave any for {name}; add "
                f"text, or change prepare.{name}_fraction or prepare.split_by."
            )
    _warn(config, dict(zip(found.taken, texts, strict=True)), splits)
    summary = {"files": len(texts), **{name: describe(text) for name, text in splits.items()}}
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


def deal_lines(texts: Sequence[str], val_fraction: float, test_fraction: float) -> dict[str, str]:
    """Deal the lines of each text out to train, val and test in turn, by characters.

    For lists in some order: each split holds some of every part of them. A text of sentences must
    not be split like this, since test lines would continue training lines.
    """
    parts: dict[str, list[str]] = {name: [] for name in SPLITS}
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


def _read_all(
    files: Sequence[Path], config: PrepareConfig, tell: Callable[[str], object]
) -> list[str]:
    """Read and clean the files, and say what was detected."""
    texts = []
    detected: dict[str, list[str]] = {}
    for path in files:
        text, encoding = decode(path, read_bytes(path), config.encoding)
        detected.setdefault(encoding, []).append(path.name)
        texts.append(clean_text(text, config))
    if config.encoding == DETECT:
        for encoding, names in detected.items():
            tell(f"  read as {encoding}: {_some(names)}")
    return texts


def _warn(config: PrepareConfig, texts: Mapping[Path, str], splits: Mapping[str, str]) -> None:
    """Warn of a corpus that would be measured on something else than it is trained on."""
    if any(map(has_gutenberg, texts.values())):
        _log.warning(
            "Project Gutenberg's header or licence is in the corpus, and so in val and test; set "
            "prepare.strip_gutenberg to true to drop it."
        )
    held_out = splits["val"] + splits["test"]
    if config.split_by != "lines" and (
        is_in_order(list(texts.values())) or drifts(splits["train"], held_out)
    ):
        _log.warning(
            "The lines of the corpus are in some order, of which val and test hold the end; set "
            "prepare.split_by to lines to deal them out evenly."
        )
    if config.split_by == "file" and _are_cut_to_pieces(config, list(texts.values())):
        _log.warning(
            "Most files of the corpus are so short that val and test hold only their last letters; "
            "set prepare.split_by to corpus to cut all of them together."
        )
    same: dict[str, list[str]] = {}
    for path, text in texts.items():
        if text.strip():
            same.setdefault(hashlib.sha256(text.encode()).hexdigest(), []).append(path.name)
    for names in same.values():
        if len(names) > 1:
            _log.warning("These files hold the same text: %s.", _some(names))


def _are_cut_to_pieces(config: PrepareConfig, texts: Sequence[str]) -> bool:
    """Whether the part that is held out of a typical file is shorter than a line."""
    typical = sorted(map(len, texts))[len(texts) // 2]
    held_out = min(filter(None, (config.val_fraction, config.test_fraction)), default=1.0)
    return len(texts) >= _MANY and typical * held_out < _LINE


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(map(plain, names[:_NAMED]))
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"
