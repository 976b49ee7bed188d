"""Good files of every kind, of the smallest model that there is, and places to put bad ones."""

import atexit
import bz2
import functools
import gzip
import json
import lzma
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ALPHABET = "\n abcdefgh"


@functools.cache
def scratch() -> Path:
    """A folder in memory, for this process."""
    memory = Path("/dev/shm")
    place = tempfile.mkdtemp(prefix="tinyllm-fuzz-", dir=memory if memory.is_dir() else None)
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return Path(place)


def empty(name: str) -> Path:
    """An empty folder in the scratch folder."""
    place = scratch() / name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    return place


@functools.cache
def checkpoint() -> Any:
    """A model of some hundred parameters."""
    from tinyllm.kernels.config import NumericsConfig
    from tinyllm.kernels.numerics import setup_numerics

    arithmetic = setup_numerics(NumericsConfig(threads=1))
    import torch

    from tinyllm.inference.checkpoint import Checkpoint
    from tinyllm.model.config import ModelConfig
    from tinyllm.model.transformer import Transformer
    from tinyllm.tokens.characters import CharacterTokenizer

    torch.manual_seed(0)
    config = ModelConfig(d_model=4, num_heads=1, num_layers=1, d_ff=4, sequence_length=4)
    tokenizer = CharacterTokenizer(ALPHABET)
    weights = Transformer(config, tokenizer.vocab_size).state_dict()
    return Checkpoint.from_weights(weights, config, tokenizer, arithmetic)


def _write(name: str, write: Callable[[Path], Any]) -> Path:
    place = scratch() / f"good-{name}"
    if not place.exists():
        place.mkdir()
        write(place)
    return place


@functools.cache
def checkpoint_folder() -> Path:
    """A checkpoint of the train stage."""
    from tinyllm.model.checkpoint import save_checkpoint

    made = checkpoint()
    facts = {"fingerprint": "f" * 32, "step": 3, "val_loss": 2.5, "data": {}}
    place = scratch() / "good-checkpoint"
    save_checkpoint(place, made.model.state_dict(), made.model.config, made.tokenizer, facts)
    return place


@functools.cache
def huggingface_folder() -> Path:
    """The model in Hugging Face's format."""
    from tinyllm.formats.huggingface import write_description, write_weights

    def write(place: Path) -> None:
        write_description(checkpoint(), place)
        write_weights(checkpoint(), place)

    return _write("huggingface", write)


@functools.cache
def onnx_folder() -> Path:
    """The model as an ONNX graph, and its tokenizer."""
    from tinyllm.base.files import write_json
    from tinyllm.formats.onnx_graph import write_onnx
    from tinyllm.formats.onnx_model import GRAPH
    from tinyllm.formats.tokenizer_json import huggingface_tokenizer

    def write(place: Path) -> None:
        (place / GRAPH).parent.mkdir()
        write_onnx(checkpoint().model, place / GRAPH)
        write_json(place / "tokenizer.json", huggingface_tokenizer(checkpoint().tokenizer))

    return _write("onnx", write)


@functools.cache
def gguf_file() -> Path:
    """The model as a GGUF file."""
    from tinyllm.formats.config import ExportConfig
    from tinyllm.formats.gguf import write_gguf

    export = ExportConfig(gguf_precisions=["f32"])
    place = _write("gguf", lambda place: write_gguf(checkpoint(), place, export))
    return place / "model-f32.gguf"


@functools.cache
def prepared_folder() -> Path:
    """Text of the prepare stage."""
    from tests.conftest import write_prepared

    texts = dict.fromkeys(("train", "val", "test"), ALPHABET * 3)
    return _write("prepared", lambda place: write_prepared(place, **texts))


@functools.cache
def token_folder() -> Path:
    """Token files of the tokenize stage."""
    from tinyllm.tokens.config import TokenizeConfig
    from tinyllm.tokens.encode import tokenize_corpus

    return _write(
        "tokens", lambda place: tokenize_corpus(TokenizeConfig(), prepared_folder(), place)
    )


@functools.cache
def archives() -> Path:
    """A text, compressed in every way, and as records."""
    import pyarrow as pa
    from pyarrow import parquet

    def write(place: Path) -> None:
        text = ALPHABET * 9
        for suffix, compress in ARCHIVES.items():
            (place / f"text.txt{suffix}").write_bytes(compress(text.encode()))
        lines = [json.dumps({"text": text, "number": number}) for number in range(3)]
        (place / "text.jsonl").write_text("\n".join(lines), encoding="utf-8")
        parquet.write_table(pa.table({"text": [text, "", text]}), place / "text.parquet")

    return _write("archives", write)


def _zstandard(data: bytes) -> bytes:
    import pyarrow as pa

    return bytes(pa.compress(data, codec="zstd", asbytes=True))


ARCHIVES: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda data: gzip.compress(data, mtime=0),
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": _zstandard,
}


@functools.cache
def contents(folder: Path) -> dict[str, bytes]:
    """The files in and below a folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@functools.cache
def document(path: Path) -> Any:
    """The document in a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def clear() -> None:
    """Remove the scratch folder, for a process that does not end in the ordinary way."""
    shutil.rmtree(scratch(), ignore_errors=True)
