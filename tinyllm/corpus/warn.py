"""Warnings of a corpus that would be measured on something else than it is trained on."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tinyllm.base.text import plain
from tinyllm.corpus.config import PrepareConfig
from tinyllm.corpus.order import drifts, is_in_order
from tinyllm.corpus.source import SourceFile

_log = logging.getLogger(__name__)
_NAMED = 3
# characters; less than that is no text
_LINE = 20
# files; so few that are so short make no corpus anyhow
_MANY = 10
# bytes of each split that are looked at, the same share of every shard
_SAMPLE = 1 << 20

Shards = Mapping[str, Sequence[dict[str, Any]]]


def warn(
    config: PrepareConfig,
    files: Sequence[SourceFile],
    cleaned: Sequence[dict[str, Any]],
    shards: Shards,
    folder: Path,
) -> None:
    """Warn of whatever looks like a mistake.

    Args:
        config: of the prepare stage.
        files: of the corpus.
        cleaned: the results of its units.
        shards: of each split.
        folder: where they lie.
    """
    spans = [span for unit in cleaned for span in unit["files"]]
    if any(span["gutenberg"] for span in spans):
        _log.warning(
            "Project Gutenberg's header or licence is in the corpus, and so in val and test; set "
            "prepare.strip_gutenberg to true to drop it."
        )
    train, held_out = (_beginnings(shards, names, folder) for names in (["train"], ["val", "test"]))
    if config.split_by != "lines" and (
        is_in_order([*train, *held_out]) or drifts("\n".join(train), "\n".join(held_out))
    ):
        _log.warning(
            "The lines of the corpus are in some order, of which val and test hold the end; set "
            "prepare.split_by to lines to deal them out evenly."
        )
    if config.split_by == "file" and _are_cut_to_pieces(config, cleaned):
        _log.warning(
            "Most files of the corpus are so short that val and test hold only their last letters; "
            "set prepare.split_by to corpus to cut all of them together."
        )
    same: dict[str, list[str]] = {}
    for span in spans:
        if span["sha256"] and not span["blank"]:
            same.setdefault(span["sha256"], []).append(files[span["number"]].base)
    groups = [names for names in same.values() if len(names) > 1]
    for names in groups[:_NAMED]:
        _log.warning("These files hold the same text: %s.", some(names))
    if len(groups) > _NAMED:
        _log.warning("There are more such groups of files: %d.", len(groups) - _NAMED)


def some(names: Sequence[str]) -> str:
    """Some of the names, and how many there are."""
    shown = ", ".join(map(plain, names[:_NAMED]))
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"


def _beginnings(shards: Shards, names: Sequence[str], folder: Path) -> list[str]:
    """The beginning of each shard of some splits: all of a small corpus."""
    found = [shard for name in names for shard in shards[name]]
    texts = []
    for shard in found:
        with (folder / shard["file"]).open("rb") as file:
            data = file.read(max(1, _SAMPLE // len(found)))
        # the last line may be cut
        text = data.decode("utf-8", "ignore")
        texts.append(text if len(data) == shard["bytes"] else text.rpartition("\n")[0])
    return texts


def _are_cut_to_pieces(config: PrepareConfig, cleaned: Sequence[dict[str, Any]]) -> bool:
    """Whether the part that is held out of a typical file is shorter than a line."""
    sizes: Counter[int] = Counter({s["number"]: 0 for unit in cleaned for s in unit["files"]})
    for unit in cleaned:
        for number, count in (segment for p in unit["pieces"] for segment in p["segments"]):
            sizes[number] += count
    typical = sorted(sizes.values())[len(sizes) // 2]
    held_out = min(filter(None, (config.val_fraction, config.test_fraction)), default=1.0)
    return len(sizes) >= _MANY and typical * held_out < _LINE
