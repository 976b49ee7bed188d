"""The files of a corpus, wherever it is."""

from pathlib import Path, PurePosixPath
from typing import Any

from tinyllm.base.errors import TinyLLMError
from tinyllm.base.text import plain
from tinyllm.corpus.config import PrepareConfig
from tinyllm.corpus.find import is_hidden, matches, survey
from tinyllm.corpus.source import SourceFile, file_system, is_address, local_file

# how file systems name what changes with a file
_VERSIONS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "created")


def list_corpus(config: PrepareConfig) -> tuple[list[SourceFile], str]:
    """Find the files of the corpus, sorted by name, and say what was taken and left out.

    Raises:
        TinyLLMError: there is no corpus, or it cannot be read.
    """
    if is_address(config.source):
        return _remote(config)
    source = Path(config.source)
    found = survey(source, config.pattern)
    root = source if source.is_dir() else source.parent
    try:
        files = [local_file(path, path.relative_to(root).as_posix()) for path in found.taken]
    except OSError as error:
        raise TinyLLMError(f"Cannot read {error.filename}: {error.strerror}.") from None
    return files, found.describe()


def _remote(config: PrepareConfig) -> tuple[list[SourceFile], str]:
    system, root = file_system(config.source)
    try:
        found: dict[str, Any] = system.find(root, detail=True)
        alone = root in found
    except Exception as error:
        why = " ".join(str(error).split())[:300]
        raise TinyLLMError(
            f"Cannot read the corpus at {plain(config.source)} ({why}); check the address and its "
            f"credentials."
        ) from None
    if not found:
        raise TinyLLMError(
            f"Nothing was found at {plain(config.source)}; check the address, and that it can be "
            f"reached."
        )
    files = []
    for path, facts in sorted(found.items()):
        name = PurePosixPath(path).name if alone else path.removeprefix(root).lstrip("/")
        hidden = any(map(is_hidden, name.split("/")))
        if facts["size"] and (alone or (not hidden and matches(name, config.pattern))):
            version = next((str(facts[key]) for key in _VERSIONS if facts.get(key)), "")
            files.append(SourceFile(system.unstrip_protocol(path), name, facts["size"], version))
    if not files:
        raise TinyLLMError(
            f"No file at {plain(config.source)} matches {config.pattern!r} and holds text; check "
            f"the address, or set prepare.pattern."
        )
    return files, f"taken {len(files)} of {len(found)} files"
