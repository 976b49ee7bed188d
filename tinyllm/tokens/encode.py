"""Encoding text files into binary token files."""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tinyllm.base.errors import TinyLLMError
from tinyllm.base.files import check_regular, write_bytes, write_json
from tinyllm.base.outs import OutFolder, check_places
from tinyllm.base.replacing import new_directory
from tinyllm.base.splits import SPLITS
from tinyllm.tokens.config import TokenizeConfig
from tinyllm.tokens.tokenizer import Tokenizer, learn_tokenizer

TOKENS = OutFolder(
    writer="tinyllm tokenize",
    files=(*(f"{name}.bin" for name in SPLITS), "meta.json", "tokenizer.json"),
    mark="meta.json",
    sign=frozenset({"vocab_size", "dtype", "splits"}),
)


def tokenize_corpus(config: TokenizeConfig, prepared: Path, out: Path) -> dict[str, Any]:
    """Learn the tokens from `train.txt` and encode the three splits.

    Writes `tokenizer.json`, `train.bin val.bin test.bin` (raw little-endian arrays of the
    smallest dtype) and `meta.json`.

    Returns:
        The metadata: vocabulary size, dtype and, for each split, tokens, fingerprint, and the
        characters (with counts) that the training alphabet does not cover.

    Raises:
        ConfigError: `out` holds something else, or overlaps with `prepared`.
        TinyLLMError: a split is missing, or no character is frequent enough.
    """
    check_places({"--out": (out, TOKENS)}, {"--prepared": prepared})
    texts = {name: _read_split(prepared / f"{name}.txt") for name in SPLITS}
    tokenizer = learn_tokenizer(config, Counter(texts["train"]), [texts["train"]])
    splits: dict[str, Any] = {}
    with new_directory(out, TOKENS) as folder:
        tokenizer.save_state(folder / "tokenizer.json")
        for name, text in texts.items():
            tokens = tokenizer.encode(text)
            write_bytes(
                folder / f"{name}.bin", tokens.astype(tokens.dtype.newbyteorder("<")).tobytes()
            )
            splits[name] = _describe(text, tokens, tokenizer)
        meta = {"vocab_size": tokenizer.vocab_size, "dtype": tokenizer.dtype.name, "splits": splits}
        write_json(folder / "meta.json", meta)
    return meta


def _read_split(path: Path) -> str:
    try:
        check_regular(path)
        with path.open(encoding="utf-8", newline="") as file:
            return file.read()
    except (OSError, TinyLLMError) as error:
        why = f"Cannot read {path}: {error.strerror}." if isinstance(error, OSError) else str(error)
        raise TinyLLMError(f"{why.rstrip('.')}; run the prepare stage first.") from None
    except UnicodeDecodeError as error:
        raise TinyLLMError(
            f"{path} is not UTF-8 at byte {error.start}; run the prepare stage again."
        ) from None


def _describe(text: str, tokens: NDArray[Any], tokenizer: Tokenizer) -> dict[str, Any]:
    unknown = {char: text.count(char) for char in tokenizer.unknown(text)}
    data = text.encode("utf-8")
    return {
        "tokens": len(tokens),
        "characters": len(text),
        "bytes": len(data),
        "fingerprint": hashlib.sha256(data).hexdigest(),
        "unknown_characters": unknown,
        "coverage": round(1 - sum(unknown.values()) / len(text), 6) if text else 1.0,
    }
