"""Encoding the shards of a prepared corpus into shards of tokens, one by one or side by side."""

import codecs
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyllm.base.errors import TinyLLMError
from tinyllm.base.events import Advance, progress
from tinyllm.base.files import check_regular, sha256, write_json
from tinyllm.base.jobs import run_jobs
from tinyllm.base.outs import OutFolder, check_places
from tinyllm.base.partial import key_of, partial_folder, place_file, read_part, write_part
from tinyllm.base.prepared import REMEDY, TextFacts, TextShard, read_summary
from tinyllm.base.replacing import new_directory
from tinyllm.base.runtime import RuntimeConfig
from tinyllm.base.splits import SPLITS, shard_patterns
from tinyllm.tokens.config import TokenizeConfig
from tinyllm.tokens.meta import META
from tinyllm.tokens.pieces import pieces
from tinyllm.tokens.tokenizer import Tokenizer, learn_tokenizer, load_tokenizer

_TOKENIZER = "tokenizer.json"
# bytes that are read at once
_PART = 1 << 18
TOKENS = OutFolder(
    writer="tinyllm tokenize",
    files=(*shard_patterns("bin"), META, _TOKENIZER),
    mark=META,
    sign=frozenset({"vocab_size", "dtype", "splits"}),
)


@dataclass(frozen=True)
class EncodeJob:
    """Encode a shard of text from one folder into another, which holds the tokenizer.

    The last field is the SHA-256 of that.
    """

    shard: TextShard
    prepared: str
    folder: str
    tokenizer: str

    @property
    def size(self) -> int:
        """Bytes that are read."""
        return self.shard.bytes


def tokenize_corpus(
    config: TokenizeConfig, prepared: Path, out: Path, runtime: RuntimeConfig | None = None
) -> dict[str, Any]:
    """Learn the tokens of the training split and encode all splits.

    Writes `tokenizer.json`, for each shard of text one of tokens, `train-00000.bin` and so on (raw
    little-endian arrays of the smallest dtype), and `meta.json`.

    Args:
        config: what the tokens are, and how they are learned.
        prepared: the folder of the prepare stage.
        out: the folder to write; an earlier one is replaced.
        runtime: how many workers, and where.

    Returns:
        The metadata: vocabulary size, dtype and, for each split, counts, fingerprint, shards, and
        the characters (with counts) that the training alphabet does not cover.

    Raises:
        ConfigError: `out` holds something else, or overlaps with `prepared`.
        TinyLLMError: a split is missing or was changed, or no character is frequent enough.
    """
    check_places({"--out": (out, TOKENS)}, {"--prepared": prepared})
    summary = read_summary(prepared)
    texts = (text for shard in summary.train.shards for text in _read(prepared, shard))
    tokenizer = learn_tokenizer(config, summary.train.alphabet, texts)
    with partial_folder(out, key_of(config.model_dump(), "base", "tokens")) as folder:
        tokenizer.save_state(folder / _TOKENIZER)
        places = str(prepared.absolute()), str(folder.absolute()), sha256(folder / _TOKENIZER)
        jobs = [
            EncodeJob(shard, *places) for name in SPLITS for shard in summary.split(name).shards
        ]
        with progress("tokenize", sum(job.size for job in jobs)) as advance:
            done = iter(run_jobs(encode_shard, jobs, runtime or RuntimeConfig(), advance))
        with new_directory(out, TOKENS) as new:
            splits = {}
            for name in SPLITS:
                shards = [next(done) for _ in summary.split(name).shards]
                for shard in shards:
                    place_file(folder / shard["file"], new / shard["file"])
                splits[name] = _describe(summary.split(name), shards, tokenizer)
            meta = {
                "vocab_size": tokenizer.vocab_size,
                "dtype": tokenizer.dtype.name,
                "splits": splits,
            }
            tokenizer.save_state(new / _TOKENIZER)
            write_json(new / META, meta)
    return meta


def encode_shard(job: EncodeJob, advance: Advance) -> dict[str, Any]:
    """Encode a shard, unless that has been done.

    Returns:
        The facts of the shard of tokens: `file`, `tokens` and `sha256`.

    Raises:
        TinyLLMError: the text cannot be read, or is not what the prepare stage wrote.
    """
    folder, name = Path(job.folder), job.shard.file.removesuffix(".txt")
    part = f"{name}-{job.shard.sha256[:16]}-{job.tokenizer[:16]}"
    if (found := read_part(folder, part)) is not None:
        advance(job.size)
        return dict(found)
    tokenizer = load_tokenizer(folder / _TOKENIZER)
    dtype = tokenizer.dtype.newbyteorder("<")
    digest, count = hashlib.sha256(), 0
    path = folder / f"{name}.bin"
    try:
        with path.open("wb") as file:
            for text in pieces(_read(Path(job.prepared), job.shard, advance)):
                tokens = tokenizer.encode(text)
                data = tokens.astype(dtype, copy=False).data
                file.write(data)
                digest.update(data)
                count += len(tokens)
    except OSError as error:
        raise TinyLLMError(f"Cannot write {path}: {error.strerror}.") from None
    found_digest = digest.hexdigest()
    result = {"file": path.name, "tokens": count, "sha256": found_digest}
    write_part(folder, part, result, {path.name: found_digest})
    return result


def _read(
    prepared: Path, shard: TextShard, advance: Advance = lambda _bytes: None
) -> Iterator[str]:
    """The text of a shard, in parts.

    Raises:
        TinyLLMError: it is not what the prepare stage wrote.
    """
    path, digest = prepared / shard.file, hashlib.sha256()
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        check_regular(path)
        with path.open("rb") as file:
            while data := file.read(_PART):
                digest.update(data)
                advance(len(data))
                yield decoder.decode(data)
            decoder.decode(b"", final=True)
    except (OSError, UnicodeDecodeError, TinyLLMError) as error:
        why = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        why = error.strerror or why if isinstance(error, OSError) else why
        raise TinyLLMError(f"Cannot read {path}: {why.rstrip('.')}; {REMEDY}.") from None
    if digest.hexdigest() != shard.sha256:
        raise TinyLLMError(f"{path} was changed after the prepare stage wrote it; {REMEDY}.")


def _describe(
    text: TextFacts, shards: list[dict[str, Any]], tokenizer: Tokenizer
) -> dict[str, Any]:
    unknown = {char: text.alphabet[char] for char in tokenizer.unknown(text.alphabet)}
    known = 1 - sum(unknown.values()) / text.characters if text.characters else 1.0
    return {
        "tokens": sum(shard["tokens"] for shard in shards),
        "characters": text.characters,
        "bytes": text.bytes,
        "fingerprint": text.fingerprint,
        "unknown_characters": unknown,
        "coverage": round(known, 6),
        "shards": shards,
    }
