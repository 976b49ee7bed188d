"""Reading raw text files in any encoding, with errors that name file and byte."""

import codecs
from pathlib import Path

from tinyllm.base.errors import TinyLLMError

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


def find_files(source: Path, pattern: str) -> list[Path]:
    """Return `source` itself if it is a file, else the files in it, sorted by relative path.

    Raises:
        TinyLLMError: the source is missing, or no file in the folder matches.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise TinyLLMError(
            f"There is no corpus at {source}; put a text file or a folder there, or set "
            f"prepare.source to where it is."
        )
    try:
        files = [path for path in source.rglob(pattern) if path.is_file()]
    except (NotImplementedError, ValueError) as error:
        raise TinyLLMError(
            f"prepare.pattern is {pattern!r}, which matches no file name: {error}; use for "
            f"example *.txt."
        ) from None
    if not files:
        raise TinyLLMError(
            f"No file in {source} matches {pattern}; add text files, or set prepare.pattern."
        )
    return sorted(files, key=lambda path: path.relative_to(source).as_posix())


def read_text(path: Path, encoding: str) -> str:
    """Decode a file; a byte order mark is dropped, newlines stay as they are.

    Args:
        path: the file.
        encoding: any of Python's codecs, or `detect` to let charset-normalizer guess.

    Raises:
        TinyLLMError: the file cannot be read, the codec is unknown, or a byte does not decode.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TinyLLMError(f"Cannot read {path}: {error.strerror}.") from None
    name = _detect(path, data) if encoding == DETECT else encoding
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
    return text.removeprefix("\ufeff")


def _detect(path: Path, data: bytes) -> str:
    from charset_normalizer import from_bytes  # noqa: PLC0415 - as slow as all other imports

    best = from_bytes(data).best()
    if best is None:
        raise TinyLLMError(
            f"The encoding of {path} could not be detected; set prepare.encoding to its name."
        )
    return best.encoding
