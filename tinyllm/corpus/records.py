"""The texts of records, in JSON Lines or Parquet: one by one, each ended by a newline."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from tinyllm.base.errors import TinyLLMError
from tinyllm.base.events import Advance
from tinyllm.base.text import plain
from tinyllm.corpus.source import ReadProgress, SourceFile

# bytes of a line of JSON Lines
_LONGEST_RECORD = 1 << 28
# characters of the names of its fields, in a message
_SHOWN = 200
# of Parquet, read at once: bytes, and rows
_PART, _MOST_ROWS = 1 << 18, 1024


def json_texts(file: SourceFile, column: str, advance: Advance) -> Iterator[str]:
    """The texts of JSON Lines; see `tinyllm.corpus.read.read_chunks`."""
    progress = ReadProgress(file, advance)
    with file.open() as stored:
        number = 0
        while line := stored.readline(_LONGEST_RECORD):
            number += 1
            progress.passed(len(line))
            if len(line) == _LONGEST_RECORD and not line.endswith(b"\n"):
                raise TinyLLMError(
                    f"{file.shown}, line {number}, is longer than the {_LONGEST_RECORD:,} bytes "
                    f"that a record may have; divide its text."
                )
            if line.strip() and (text := _text_of(line, column, f"{file.shown}, line {number},")):
                yield _ended(text)


def _text_of(line: bytes, column: str, where: str) -> str:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise TinyLLMError(
            f"{where} is no JSON object in UTF-8; mend the line, or name another pattern."
        )
    text = record.get(column, 0)
    if text is not None and not isinstance(text, str):
        names = plain(", ".join(record))[:_SHOWN]
        raise TinyLLMError(
            f"{where} has no text in {column!r}; set prepare.text_column to the name of its text, "
            f"of {names or 'none'}."
        )
    try:
        (text or "").encode("utf-8")
    except UnicodeEncodeError as error:
        raise TinyLLMError(
            f"{where} has half of a surrogate pair in {column!r}, at character {error.start + 1}, "
            f"which no text can hold; mend the line."
        ) from None
    return text or ""


def parquet_texts(file: SourceFile, column: str, advance: Advance) -> Iterator[str]:
    """The texts of a column of Parquet; see `tinyllm.corpus.read.read_chunks`."""
    import pyarrow as pa  # noqa: PLC0415 - slow, and for such files only
    from pyarrow import parquet  # noqa: PLC0415 - see above

    progress = ReadProgress(file, advance)
    try:
        with _with_places(file) as stored:
            # in parts: a group of rows may be as large as the file
            table = parquet.ParquetFile(stored, buffer_size=_PART, pre_buffer=False)
            if column not in table.schema_arrow.names:
                raise TinyLLMError(
                    f"{file.shown} has no column {column!r}, but "
                    f"{', '.join(table.schema_arrow.names)}; set prepare.text_column to one of "
                    f"them."
                )
            for batch in table.iter_batches(_rows_at_once(table.metadata), columns=[column]):
                values = batch.column(0)
                # as pandas writes categories
                if pa.types.is_dictionary(values.type):
                    values = values.dictionary_decode()
                if values.type not in (pa.string(), pa.large_string(), pa.string_view()):
                    raise TinyLLMError(
                        f"{file.shown} has {values.type} in {column!r}, not text; set "
                        f"prepare.text_column to a column of text."
                    )
                progress.passed(values.nbytes)
                yield "".join(_ended(text) for text in values.to_pylist() if text)
    except pa.ArrowException as error:
        raise TinyLLMError(
            f"{file.shown} is damaged: it is not Parquet ({' '.join(str(error).split())})."
        ) from None
    except UnicodeDecodeError as error:
        raise TinyLLMError(
            f"{file.shown} has a text in {column!r} that is not UTF-8 ({error.reason}); mend the "
            f"file, or move it away."
        ) from None


@contextmanager
def _with_places(file: SourceFile) -> Iterator[IO[bytes]]:
    """Open a file whose end is read first: one that is compressed is decompressed to the disk."""
    with file.open() as stored:
        if not file.compression:
            yield stored
            return
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(stored, copy)
            yield copy


def _rows_at_once(metadata: Any) -> int:
    """How many rows of a Parquet file make a part."""
    size = sum(metadata.row_group(n).total_byte_size for n in range(metadata.num_row_groups))
    rows: int = _PART * metadata.num_rows // max(size, 1)
    return max(1, min(_MOST_ROWS, rows))


def _ended(text: str) -> str:
    """The text of a record, with a newline at its end."""
    return text if text.endswith("\n") else text + "\n"
