"""Reading raw text files in any encoding, with errors that name file and byte."""

import codecs
from pathlib import Path

from tinyllm.base.errors import TinyLLMError
from tinyllm.corpus.detect import detect_encoding
from tinyllm.corpus.find import find_files

DETECT = "detect"


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
    """Decode a file; a byte order mark is dropped, newlines stay as they are.

    Args:
        path: the file.
        encoding: any of Python's codecs, or `detect` to find it out.

    Raises:
        TinyLLMError: the file cannot be read, the codec is unknown, a byte does not decode, or
            what is to be detected is doubtful.
    """
    return decode(path, read_bytes(path), encoding)[0]


def read_bytes(path: Path) -> bytes:
    """Read a file of the corpus.

    Raises:
        TinyLLMError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise TinyLLMError(f"Cannot read {path}: {error.strerror}.") from None


def decode(path: Path, data: bytes, encoding: str) -> tuple[str, str]:
    """The text of a file's bytes, and the name of their encoding; see `read_text`."""
    name = detect_encoding(path, data) if encoding == DETECT else encoding
    try:
        text = data.decode(codecs.lookup(name).name)
        # some codecs give lone surrogates, which no UTF-8 file can hold
        text.encode("utf-8")
    except UnicodeDecodeError as error:
        raise TinyLLMError(
            f"{path} is not {name}: byte 0x{data[error.start]:02x} at offset {error.start} does "
            f"not decode; set prepare.encoding to the file's encoding, or to detect."
        ) from None
    except UnicodeError as error:
        raise TinyLLMError(
            f"{path} is not {name} ({error}); set prepare.encoding to the file's encoding."
        ) from None
    except (LookupError, ValueError):
        raise TinyLLMError(
            f"prepare.encoding is {encoding!r}, which is not an encoding that Python knows; "
            f"use for example utf-8, cp1252 or detect."
        ) from None
    return text.removeprefix("\ufeff"), name
