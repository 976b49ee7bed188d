"""Cases: files that are read are checked first."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.campaign.case import Mechanism, case
from tests.campaign.world import Result, World

READ = Mechanism.READ
Spoil = Callable[[Path], object]
_DEEP = "[" * 100_000


def change(file: str, **values: Any) -> Spoil:
    """Set keys of a JSON file; a key may lead into objects, `model__d_ff`."""

    def spoil(folder: Path) -> None:
        content = json.loads((folder / file).read_text(encoding="utf-8"))
        for key, value in values.items():
            *path, last = key.split("__")
            inner = content
            for step in path:
                inner = inner[step]
            inner[last] = value
        (folder / file).write_text(json.dumps(content), encoding="utf-8")

    return spoil


def become(file: str, content: str | bytes) -> Spoil:
    """Replace a file's contents."""
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / file).write_bytes(data)


def pipe(file: str) -> Spoil:
    """Put a FIFO, from which nothing ever comes, in a file's place."""

    def spoil(folder: Path) -> None:
        (folder / file).unlink()
        os.mkfifo(folder / file)

    return spoil


def into(file: str, target: str) -> Spoil:
    """Put a link to a device in a file's place."""

    def spoil(folder: Path) -> None:
        (folder / file).unlink()
        (folder / file).symlink_to(target)

    return spoil


def folder_as(file: str) -> Spoil:
    """Put a folder in a file's place."""

    def spoil(folder: Path) -> None:
        (folder / file).unlink()
        (folder / file).mkdir()

    return spoil


def grow(file: str, size: int) -> Spoil:
    """Make a file, with holes, as large as this."""

    def spoil(folder: Path) -> None:
        with (folder / file).open("r+b") as stream:
            stream.truncate(size)

    return spoil


def weight(value: float) -> Spoil:
    """Overwrite the last weight of the model."""

    def spoil(folder: Path) -> None:
        with (folder / "model.safetensors").open("r+b") as file:
            file.seek(-4, os.SEEK_END)
            file.write(struct.pack("<f", value))

    return spoil


def header(**entry: Any) -> Spoil:
    """Let the first tensor of the model claim another type, shape or place."""

    def spoil(folder: Path) -> None:
        path = folder / "model.safetensors"
        data = path.read_bytes()
        size = struct.unpack("<Q", data[:8])[0]
        tensors = json.loads(data[8 : 8 + size])
        first = next(name for name in tensors if name != "__metadata__")
        tensors[first] |= entry
        text = json.dumps(tensors).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])

    return spoil


def _generate(world: World, folder: str) -> Result:
    return world.tinyllm("generate", "--model", folder, "--max-new-tokens", "3", "O", memory=8000)


def _train(world: World, _folder: str) -> Result:
    flags = ("--max-steps", "1", "--warmup-steps", "0", "--no-tracking", "--no-progress")
    places = ("--tokens", "outs/data/tokens", "--out", "out", "--reports", "reports")
    return world.tinyllm("train", *places, *flags, memory=8000)


def _tokenize(world: World, folder: str) -> Result:
    return world.tinyllm("tokenize", "--prepared", folder, "--out", "out")


_CHECKPOINT: dict[str, tuple[str, Spoil]] = {
    "config_training_null": (
        "`training: null` in config.json",
        change("config.json", training=None),
    ),
    "config_context_1e12": (
        "`sequence_length` 10^12 in config.json",
        change("config.json", model__sequence_length=10**12),
    ),
    "config_layers_1e9": (
        "`num_layers` 10^9 in config.json",
        change("config.json", model__num_layers=10**9),
    ),
    "config_many_layers": (
        "900 layers in config.json, two in the weights",
        change("config.json", model__num_layers=900),
    ),
    "config_wide": ("width 65,536 in config.json", change("config.json", model__d_model=65536)),
    "config_of_lists": ("config.json holds a list", become("config.json", "[1, 2]")),
    "config_deep": ("config.json nested 100,000 deep", become("config.json", _DEEP)),
    "config_nan": (
        "`rope_theta` NaN in config.json",
        change("config.json", model__rope_theta=float("nan")),
    ),
    "config_dropout_text": ("`dropout` is a text", change("config.json", model__dropout="much")),
    "config_latin": ("config.json in Latin-1", become("config.json", b'{"format": "\xe9"}')),
    "config_pipe": ("a FIFO as config.json", pipe("config.json")),
    "config_zero": ("/dev/zero as config.json", into("config.json", "/dev/zero")),
    "config_of_a_gigabyte": ("config.json of 1 GB", grow("config.json", 10**9)),
    "weights_nan": ("a weight is NaN", weight(float("nan"))),
    "weights_infinite": ("a weight is infinite", weight(float("inf"))),
    "weights_pipe": ("a FIFO as model.safetensors", pipe("model.safetensors")),
    "weights_half": ("half of the weights' file", grow("model.safetensors", 60_000)),
    "weights_of_integers": ("a tensor of integers", header(dtype="I32")),
    "weights_of_huge_shape": ("a tensor claims 10^12 rows", header(shape=[10**12, 1])),
    "weights_overlap": ("a tensor claims another's place", header(data_offsets=[0, 4])),
    "alphabet_of_words": (
        "the alphabet holds words",
        change("tokenizer.json", alphabet=["the", "a"]),
    ),
    "alphabet_of_numbers": (
        "the alphabet holds numbers",
        change("tokenizer.json", alphabet=[1, 2]),
    ),
    "alphabet_short": ("the alphabet is shorter", change("tokenizer.json", alphabet=["a", "b"])),
    "alphabet_of_surrogates": (
        "the alphabet holds half a character",
        become("tokenizer.json", '{"format": "tinyllm-characters-1", "alphabet": ["\\ud800"]}'),
    ),
    "alphabet_deep": ("tokenizer.json nested 100,000 deep", become("tokenizer.json", _DEEP)),
}
_TOKENS: dict[str, tuple[str, Spoil]] = {
    "meta_list": ("meta.json is a list", become("meta.json", "[]")),
    "meta_null": ("meta.json is null", become("meta.json", "null")),
    "meta_zero": ("a vocabulary of 0", change("meta.json", vocab_size=0)),
    "meta_splits_null": ("`splits` is null", change("meta.json", splits=None)),
    "meta_dtype": ("`dtype` is object", change("meta.json", dtype="object")),
    "meta_tokens_text": (
        "a split has 'many' tokens",
        change("meta.json", splits__train__tokens="many"),
    ),
    "meta_deep": ("meta.json nested 100,000 deep", become("meta.json", _DEEP)),
    "tokens_beyond": ("token 255 of 62", become("train-00000.bin", b"\xff" * 44_380)),
    "tokens_missing": ("no train-00000.bin", lambda folder: (folder / "train-00000.bin").unlink()),
    "tokens_folder": (
        "a folder as train-00000.bin",
        folder_as("train-00000.bin"),
    ),
    "tokens_pipe": ("a FIFO as train-00000.bin", pipe("train-00000.bin")),
    "tokens_long": ("train-00000.bin is a token longer", grow("train-00000.bin", 44_381)),
    "tokens_terabyte": ("train-00000.bin of a terabyte", grow("train-00000.bin", 10**12)),
    "alphabet_other": ("another alphabet's tokenizer", change("tokenizer.json", alphabet=["a"])),
}
_PREPARED: dict[str, tuple[str, Spoil]] = {
    "split_pipe": ("a FIFO as train-00000.txt", pipe("train-00000.txt")),
    "split_folder": (
        "a folder as val-00000.txt",
        folder_as("val-00000.txt"),
    ),
    "split_binary": ("train-00000.txt is not UTF-8", become("train-00000.txt", b"abc\xff\xfe")),
    "split_empty": ("train-00000.txt is empty", become("train-00000.txt", b"")),
    "split_zero": ("/dev/zero as test-00000.txt", into("test-00000.txt", "/dev/zero")),
}
_RUNS = (
    (_CHECKPOINT, "models/checkpoint", _generate),
    (_TOKENS, "data/tokens", _train),
    (_PREPARED, "data/prepared", _tokenize),
)


def _register(name: str, given: str, spoil: Spoil, folder: str, run: Any) -> None:
    def check(world: World) -> None:
        world.outs(folder)
        spoil(world.folder / "outs" / folder)
        result = run(world, f"outs/{folder}")
        result.told()
        assert result.megabytes < 2000

    check.__name__ = name
    case(READ, given, "a sentence, at once and in little memory")(check)


for _table, _folder, _run in _RUNS:
    for _name, (_given, _spoil) in _table.items():
        _register(_name, _given, _spoil, _folder, _run)


@case(READ, "metrics.json of evaluate is a list; `summary`", "a sentence")
def metrics_list(world: World) -> None:
    """The summary reads what git may have merged badly."""
    place = world.outs("reports")
    (place / "reports/evaluate/metrics.json").write_text("[]")
    world.tinyllm("summary", cwd=place).told("damaged")


@case(READ, "history.csv without its columns; `evaluate`", "a sentence before the evaluation")
def history_columns(world: World) -> None:
    """The curves are drawn last, but their table is read first."""
    place = world.outs("models/checkpoint", "data/tokens", "reports")
    (place / "reports/train/history.csv").write_text("step\n1\n")
    ways = ("--checkpoint", "models/checkpoint", "--tokens", "data/tokens", "--out", "out")
    ways += ("--history", "reports/train/history.csv", "--no-tracking")
    world.tinyllm("evaluate", *ways, cwd=place).told("history.csv is damaged")
    assert not (place / "out").exists()


@case(READ, "`metrics.json` with `split: train` or NaN; `export`", "a sentence")
def export_metrics(world: World) -> None:
    """The champion is judged by this file."""
    place = world.outs("models/checkpoint", "data/tokens", "reports")
    ways = ("--checkpoint", "models/checkpoint", "--tokens", "data/tokens", "--out", "out")
    ways += ("--evaluation", "reports/evaluate", "--no-tracking")
    path = place / "reports/evaluate/metrics.json"
    good = json.loads(path.read_text())
    for wrong in ({"split": "train"}, {"bits_per_character": float("nan")}, {"fingerprint": 3}):
        path.write_text(json.dumps({**good, **wrong}))
        world.tinyllm("export", *ways, cwd=place).told("metrics.json is damaged")
