"""Reading files of a corpus as text in chunks, with errors that name file and byte."""

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tinyllm.base.errors import TinyLLMError
from tinyllm.base.events import Advance
from tinyllm.base.files import check_regular
from tinyllm.corpus.config import PrepareConfig
from tinyllm.corpus.detect import SAMPLE, detect_encoding
from tinyllm.corpus.find import find_files
from tinyllm.corpus.records import json_texts, parquet_texts
from tinyllm.corpus.source import ReadProgress, SourceFile, local_file

DETECT = "detect"
# bytes that are read at once
_CHUNK = 1 << 18
_BOM = "\ufeff"
# other codecs may give lone surrogates, which no UTF-8 file can hold
_STRICT = ("utf-8", "utf-8-sig")


def load_text(source: str | Path, pattern: str = "*.txt", encoding: str = "utf-8") -> str:
    """Read a text file, or all files of a folder, concatenated, without cleaning.

    Args:
        source: the file or folder.
        pattern: which files of a folder, at any depth.
        encoding: any of Python's codecs, or `detect`.

    Raises:
        TinyLLMError: there is no such file, or one does not decode.
    """
    return "".join(read_text(path, encoding) for path in find_files(Path(source), pattern))


def read_text(path: Path, encoding: str) -> str:
    """Decode a file, decompressed; a byte order mark is dropped, newlines stay as they are.

    Args:
        path: the file.
        encoding: any of Python's codecs, or `detect` to find it out.

    Raises:
        TinyLLMError: the file cannot be read, the codec is unknown, a byte does not decode, or
            what is to be detected is doubtful.
    """
    check_regular(path)
    file = local_file(path, path.name)
    config = PrepareConfig.parse({"encoding": encoding_of(file, encoding)})
    return "".join(read_chunks(file, config))


def read_chunks(
    file: SourceFile,
    config: PrepareConfig,
    span: tuple[int, int] | None = None,
    advance: Advance = lambda _bytes: None,
) -> Iterator[str]:
    """The text of a file, in chunks of some hundred kilobytes.

    Of JSON Lines and Parquet it is the text of each record, each ended by a newline; a record whose
    text is empty or null gives none.

    Args:
        file: of any kind.
        config: the encoding, which is a codec's name, and the column of records.
        span: first byte and the one behind the last, of a file that is text and not compressed.
        advance: receives how many bytes of the file have been read since the last call.

    Raises:
        TinyLLMError: the file cannot be read, is damaged, does not decode, or has no such column.
    """
    if file.kind == "parquet":
        yield from parquet_texts(file, config.text_column, advance)
    elif file.kind == "jsonl":
        yield from json_texts(file, config.text_column, advance)
    else:
        yield from _decoded(file, config.encoding, span or (0, -1), advance)


def encoding_of(file: SourceFile, encoding: str) -> str:
    """The name of a file's encoding: of records theirs, else the one that is set or detected.

    Raises:
        TinyLLMError: what is to be detected is doubtful.
    """
    if file.kind != "text":
        return "utf-8"
    if encoding != DETECT:
        return encoding
    with file.open() as stored:
        beginning = _read_exactly(stored, SAMPLE)
    return detect_encoding(file.shown, beginning, whole=len(beginning) < SAMPLE)


def _decoded(file: SourceFile, name: str, span: tuple[int, int], advance: Advance) -> Iterator[str]:
    decoder = _decoder(name)
    is_strict = codecs.lookup(name).name in _STRICT
    begin, end = span
    place, is_first = begin, begin == 0
    with file.open(begin) as stored:
        reader = ReadProgress(file, advance)
        while True:
            data = stored.read(_CHUNK if end < 0 else min(_CHUNK, end - place))
            pending = decoder.getstate()[0]
            try:
                text = decoder.decode(data, final=not data)
                if not (is_strict or text.isascii()):
                    text.encode("utf-8")
            except UnicodeDecodeError as error:
                at = place - len(pending) + error.start
                byte = error.object[error.start]
                raise _not_decoding(file, name, f"byte 0x{byte:02x} at offset {at}") from None
            except UnicodeError as error:
                raise TinyLLMError(
                    f"{file.shown} is not {name} ({error}); set prepare.encoding to the "
                    f"file's encoding."
                ) from None
            place += len(data)
            reader.passed(len(data))
            if is_first and text:
                text, is_first = text.removeprefix(_BOM), False
            if text:
                yield text
            if not data:
                return


def _decoder(name: str) -> codecs.IncrementalDecoder:
    try:
        # a codec between bytes and bytes, such as base64, is none of text
        b" ".decode(codecs.lookup(name).name, "ignore")
        return codecs.getincrementaldecoder(name)()
    except (LookupError, ValueError):
        raise TinyLLMError(
            f"prepare.encoding is {name!r}, which is not an encoding that Python knows; "
            f"use for example utf-8, cp1252 or detect."
        ) from None


def _not_decoding(file: SourceFile, name: str, where: str) -> TinyLLMError:
    return TinyLLMError(
        f"{file.shown} is not {name}: {where} does not decode; set prepare.encoding to the "
        f"file's encoding, or to detect."
    )


def _read_exactly(stored: IO[bytes], count: int) -> bytes:
    """The next `count` bytes, or what there is."""
    parts = []
    while count and (data := stored.read(min(count, _CHUNK))):
        parts.append(data)
        count -= len(data)
    return b"".join(parts)
