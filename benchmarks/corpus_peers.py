"""The peers of corpus.py: python benchmarks/corpus_peers.py datasets|nanogpt FILE FOLDER."""

import os
import sys
from pathlib import Path

import numpy as np


def with_datasets(file: str, folder: Path) -> None:
    """Hugging Face's datasets and tokenizers, in two processes: train and val as arrays."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    from datasets import load_dataset
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split

    loaded = load_dataset(
        "text", data_files=file, split="train", keep_linebreaks=True, cache_dir=str(folder)
    )
    alphabet: set[str] = set()
    for batch in loaded.iter(10_000):
        alphabet.update(*batch["text"])
    vocabulary = {char: number for number, char in enumerate(sorted(alphabet))}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=min(alphabet)))
    tokenizer.pre_tokenizer = Split(Regex(r"[\s\S]"), "isolated")

    def encode(batch):
        return {"ids": [found.ids for found in tokenizer.encode_batch(batch["text"])]}

    encoded = loaded.map(encode, batched=True, num_proc=2, remove_columns=["text"])
    dtype = np.min_scalar_type(len(vocabulary))
    with (folder / "tokens.bin").open("wb") as out:
        for batch in encoded.with_format("numpy").iter(10_000):
            out.write(np.concatenate(batch["ids"]).astype(dtype).tobytes())


def as_nanogpt(file: str, folder: Path) -> None:
    """The whole text in memory, a dictionary of its characters, a list of numbers, two arrays."""
    text = Path(file).read_text(encoding="utf-8")
    number = {char: index for index, char in enumerate(sorted(set(text)))}
    cut = int(len(text) * 0.9)
    for name, part in (("train", text[:cut]), ("val", text[cut:])):
        np.array([number[char] for char in part], dtype=np.uint16).tofile(folder / f"{name}.bin")


if __name__ == "__main__":
    _, which, source, place = sys.argv
    Path(place).mkdir(parents=True)
    (with_datasets if which == "datasets" else as_nanogpt)(source, Path(place))
