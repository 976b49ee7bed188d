"""What one worker cleans at a time: a group of small files, or a part of a large one."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tinyllm.corpus.config import PrepareConfig
from tinyllm.corpus.cut import begins_text, find_cut
from tinyllm.corpus.source import SourceFile

# bytes of a unit, and of a shard
UNIT = 1 << 26
# bytes before the end of a unit in which a place to cut is looked for
_WINDOW = 1 << 20
# encodings in which the beginning of a character can be told from its bytes
_CUTTABLE = ("utf-8", "utf8", "utf_8", "ascii", "us-ascii")


@dataclass(frozen=True)
class Span:
    """A file of the corpus, or a part of it.

    Attributes:
        number: of the file in the corpus.
        file: the file.
        begin: its first byte.
        end: the byte behind its last; -1 for the end of the file.
    """

    number: int
    file: SourceFile
    begin: int = 0
    end: int = -1


@dataclass(frozen=True)
class Unit:
    """Spans that follow each other in the corpus."""

    number: int
    spans: tuple[Span, ...]

    @property
    def name(self) -> str:
        """A name that is another as soon as one of its files changes, or its place."""
        facts = [
            (s.number, s.file.path, s.file.size, s.file.version, s.begin, s.end) for s in self.spans
        ]
        digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
        return f"unit-{self.number:06d}-{digest[:16]}"

    @property
    def size(self) -> int:
        """Bytes that are read, as they are stored."""
        return sum(map(_length, self.spans))


def divide(files: Sequence[SourceFile], config: PrepareConfig, size: int = UNIT) -> list[Unit]:
    """Divide the corpus into units of about `size` bytes, the same on every machine."""
    units: list[Unit] = []
    group: list[Span] = []
    total = 0
    for span in _spans(files, config, size):
        if group and total + _length(span) > size:
            units.append(Unit(len(units), tuple(group)))
            group, total = [], 0
        group.append(span)
        total += _length(span)
    return [*units, Unit(len(units), tuple(group))] if group else units


def _length(span: Span) -> int:
    return (span.file.size if span.end < 0 else span.end) - span.begin


def _spans(files: Sequence[SourceFile], config: PrepareConfig, size: int) -> Iterator[Span]:
    for number, file in enumerate(files):
        if file.size <= size or not _can_be_cut(file, config):
            yield Span(number, file)
            continue
        begin = 0
        for target in range(size, file.size, size):
            if (end := _place_before(file, target)) > begin:
                yield Span(number, file, begin, end)
                begin = end
        yield Span(number, file, begin)


def _can_be_cut(file: SourceFile, config: PrepareConfig) -> bool:
    """Whether parts of a file can be read and cleaned without what is before them."""
    in_turn = (
        config.strip_gutenberg,
        config.strip_stage_directions,
        config.strip_headings,
        config.split_by == "lines",
    )
    is_text = file.kind == "text" and not file.compression
    return is_text and config.encoding.lower() in _CUTTABLE and not any(in_turn)


def _place_before(file: SourceFile, target: int) -> int:
    """The last byte before a target at which the file can be cut; 0 for none."""
    start = max(0, target - _WINDOW)
    with file.open(start) as stored:
        data = stored.read(target - start)
    # a character that is cut, at either end, becomes half a surrogate pair, and so does what is
    # no text at all: the worker that reads it says so
    text = data.decode("utf-8", "surrogateescape")
    place = find_cut(text, _is_place)
    return start + len(text[:place].encode("utf-8", "surrogateescape")) if place else 0


def _is_place(text: str, place: int) -> bool:
    near = text[max(0, place - 1) : place + 1]
    # not where bytes are that belong to a character that cannot be seen whole
    whole = not any("\ud800" <= character <= "\udfff" for character in near)
    return whole and begins_text(text, place)
