"""The jobs of the prepare stage: to clean a unit, and to cut what was cleaned into splits."""

import hashlib
import io
import json
from collections import ChainMap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyllm.base.errors import TinyLLMError
from tinyllm.base.events import Advance
from tinyllm.base.partial import read_part, write_part
from tinyllm.base.splits import SPLITS
from tinyllm.base.work import HOW_TO_GO_ON
from tinyllm.corpus.clean import clean_stream, has_gutenberg
from tinyllm.corpus.config import PrepareConfig
from tinyllm.corpus.cut import PIECE
from tinyllm.corpus.read import encoding_of, read_chunks
from tinyllm.corpus.shards import SHARD, ShardWriter
from tinyllm.corpus.split import Dealer, Shares, Slice
from tinyllm.corpus.units import Span, Unit


@dataclass(frozen=True)
class CleanJob:
    """Clean a unit; the result lies in `folder`."""

    unit: Unit
    config: PrepareConfig
    folder: str
    shard: int = SHARD

    @property
    def size(self) -> int:
        """Bytes that are read."""
        return self.unit.size


@dataclass(frozen=True)
class CutJob:
    """Cut pieces of the corpus into splits: by slices, or line by line if there are none."""

    number: int
    pieces: tuple[dict[str, Any], ...]
    slices: tuple[Slice, ...] | None
    config: PrepareConfig
    folder: str
    shard: int = SHARD

    @property
    def size(self) -> int:
        """Bytes that are read."""
        return sum(int(piece["bytes"]) for piece in self.pieces)

    @property
    def name(self) -> str:
        """A name that is another as soon as the pieces change, or their slices."""
        facts = [[piece["sha256"] for piece in self.pieces], self.slices]
        digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
        return f"part-{self.number:06d}-{digest[:16]}"


def clean_unit(job: CleanJob, advance: Advance) -> dict[str, Any]:
    """Clean a unit, unless that has been done.

    Returns:
        `pieces`, the facts of what was written, and `files`, the facts of each span.

    Raises:
        TinyLLMError: a file cannot be read or decoded, or was changed, or the disk is full.
    """
    folder, name = Path(job.folder), job.unit.name
    if (found := read_part(folder, name)) is not None:
        advance(job.size)
        return dict(found)
    with ShardWriter(folder, name, job.shard) as writer:
        files = [_clean_span(span, job.config, writer, advance) for span in job.unit.spans]
    for span in job.unit.spans:
        span.file.check_unchanged()
    result = {"pieces": writer.shards, "files": files}
    write_part(folder, name, result, writer.files)
    return result


def _clean_span(
    span: Span, config: PrepareConfig, writer: ShardWriter, advance: Advance
) -> dict[str, Any]:
    digest, marked, is_first, blank = hashlib.sha256(), False, True, True
    whole = (span.begin, span.end) == (0, -1)
    encoding = encoding_of(span.file, config.encoding)
    config = config.model_copy(update={"encoding": encoding})
    chunks = read_chunks(span.file, config, None if whole else (span.begin, span.end), advance)
    for text in clean_stream(chunks, config):
        if whole:
            digest.update(text.encode("utf-8"))
        if is_first and text:
            marked, is_first = has_gutenberg(text), False
        blank = blank and text.isspace()
        writer.write(text, span.number)
    return {
        "number": span.number,
        "sha256": digest.hexdigest() if whole else "",
        "blank": blank,
        "gutenberg": marked,
        "encoding": encoding,
    }


def cut_piece(job: CutJob, advance: Advance) -> dict[str, Any]:
    """Cut pieces of the corpus into splits, unless that has been done.

    Returns:
        For each split the facts of the shards that were written.

    Raises:
        TinyLLMError: a piece is gone, or the disk is full.
    """
    folder = Path(job.folder)
    if (found := read_part(folder, job.name)) is not None:
        advance(job.size)
        return dict(found)
    writers = {name: ShardWriter(folder, f"{job.name}-{name}", job.shard) for name in SPLITS}
    for name, text in _by_lines(job, advance) if job.slices is None else _by_slices(job, advance):
        writers[name].write(text)
    for writer in writers.values():
        writer.close()
    result = {name: writer.shards for name, writer in writers.items()}
    written = [writer.files for writer in writers.values()]
    write_part(folder, job.name, result, dict(ChainMap(*written)))
    return result


def _by_slices(job: CutJob, advance: Advance) -> Iterator[tuple[str, str]]:
    (piece,), slices = job.pieces, job.slices or ()
    with _open(job, piece) as file:
        for name, count in slices:
            for text in _blocks(file, count):
                yield name, text
    advance(job.size)


def _by_lines(job: CutJob, advance: Advance) -> Iterator[tuple[str, str]]:
    dealers: dict[int, Dealer] = {}
    for number, lines in _lines_of_files(job, advance):
        if number not in dealers:
            dealers = {number: Dealer(Shares.of(job.config))}
        yield from dealers[number].deal(lines)


def _lines_of_files(job: CutJob, advance: Advance) -> Iterator[tuple[int, Sequence[str]]]:
    """The lines of each file, some at a time; a line may go on in the next piece."""
    # of the line that is not whole yet
    waiting: list[str] = []
    of = -1
    for piece in job.pieces:
        with _open(job, piece) as file:
            for number, count in piece["segments"]:
                if number != of and waiting:
                    yield of, ["".join(waiting)]
                    waiting = []
                of = number
                for text in _blocks(file, count):
                    # lines end with a line feed, and with nothing else
                    waiting.append(text)
                    if "\n" in text:
                        *lines, rest = "".join(waiting).split("\n")
                        waiting = [rest] if rest else []
                        yield number, [f"{line}\n" for line in lines]
        advance(piece["bytes"])
    if waiting:
        yield of, ["".join(waiting)]


@contextmanager
def _open(job: CutJob, piece: dict[str, Any]) -> Iterator[io.TextIOWrapper]:
    path = Path(job.folder) / str(piece["file"])
    try:
        with path.open(encoding="utf-8", newline="") as file:
            yield file
    except OSError as error:
        why = error.strerror or str(error)
        raise TinyLLMError(f"Cannot read {path}: {why}; {HOW_TO_GO_ON}.") from None


def _blocks(file: io.TextIOWrapper, count: int) -> Iterator[str]:
    while count:
        if not (text := file.read(min(count, PIECE))):
            raise OSError("it is shorter than it was")
        yield text
        count -= len(text)
