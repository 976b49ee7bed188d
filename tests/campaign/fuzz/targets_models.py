"""Targets: files that hold models, tokens, and the state of a training."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

from tests.campaign.fuzz import good
from tests.campaign.fuzz.draw import Draw, changed_bytes, changed_json
from tests.campaign.fuzz.target import target

_JSON = (b"{", b"}", b"null", b'"format"', b'"vocab_size"', b"[", b"]", b"1e999", b"NaN")


def _spoiled(source: Path, name: str, draw: Draw) -> Path:
    """A copy of a good folder of which one file, or more, is changed."""
    place = good.empty(name)
    files = dict(good.contents(source))
    for _ in range(1 + draw.byte() % 2):
        chosen = draw.choose(sorted(files))
        if chosen.endswith(".json"):
            files[chosen] = changed_json(good.document(source / chosen), draw)
        else:
            files[chosen] = changed_bytes(files[chosen], draw)
    for each, data in files.items():
        (place / each).parent.mkdir(exist_ok=True)
        (place / each).write_bytes(data)
    return place


@target(b"\0\0\3\0\1\0\0", b"\0\1\4\4\0\50", b"\0\2\3\2", words=_JSON, share=0.5)
def checkpoint(data: bytes) -> None:
    """A checkpoint folder: description, tokenizer, weights."""
    from tinyllm.inference.checkpoint import load_checkpoint

    draw = Draw(data)
    load_checkpoint(_spoiled(good.checkpoint_folder(), "checkpoint", draw)).reader().start([[1]])


@target(b"\0\0\3\0\1\0\0", b"\0\1\4\4\0\50", b"\0\2\3\2", words=_JSON, share=0.5)
def huggingface(data: bytes) -> None:
    """A folder of the Hugging Face format."""
    from tinyllm.formats.load import load_model

    draw = Draw(data)
    load_model(_spoiled(good.huggingface_folder(), "huggingface", draw)).reader().start([[1]])


@target(b"\0\2\7\5", b"\0\0\4\0\1\0", words=_JSON, share=0.5)
def onnx(data: bytes) -> None:
    """A folder of the ONNX format."""
    from tinyllm.formats.load import load_onnx_model

    draw = Draw(data)
    load_onnx_model(_spoiled(good.onnx_folder(), "onnx", draw))


@target(b"GGUF\3\0\0\0", b"\1\0\0\4GGUF", b"\1\4\0\30", b"\1\7\20\377\377", share=0.5)
def gguf(data: bytes) -> None:
    """A GGUF file."""
    from tinyllm.formats.gguf_reader import read_gguf

    draw = Draw(data)
    path = good.scratch() / "model.gguf"
    whole = good.gguf_file().read_bytes()
    path.write_bytes(changed_bytes(whole, draw) if draw.byte() else draw.rest())
    read_gguf(path)


@target(b"\0" * 8, b"\1\0\0\4\1\0\0\0", b"\1\5\10\1{", words=(*_JSON, b'"data_offsets"', b"F32"))
def safetensors(data: bytes) -> None:
    """A file of tensors."""
    from tinyllm.model.checkpoint import read_tensors

    draw = Draw(data)
    path = good.scratch() / "x.safetensors"
    whole = good.contents(good.checkpoint_folder())["model.safetensors"]
    path.write_bytes(changed_bytes(whole, draw) if draw.byte() else draw.rest())
    read_tensors(path)


@target(b"\0\1\3\0\1\0\0", b"\0\1\3\0\1\0\4", b"\0\4\4\1", words=_JSON)
def tokens(data: bytes) -> None:
    """A folder of the tokenize stage, and the windows over what it holds."""
    from tinyllm.tokens.tokenizer import load_tokenizer
    from tinyllm.tokens.windows import OptimizedTextDataset, load_token_data, load_tokens

    draw = Draw(data)
    folder = _spoiled(good.token_folder(), "tokens", draw)
    found = load_token_data(folder)
    load_tokens(folder, "test")
    dataset = OptimizedTextDataset(found.train, 4, "train")
    inputs, targets = dataset.gather(dataset.shuffled_starts(1, 0)[:])
    # ids beyond the vocabulary would be read from beyond the embedding
    assert 0 <= int(inputs.min()) <= int(inputs.max()) < found.vocab_size
    assert 0 <= int(targets.min()) <= int(targets.max()) < found.vocab_size
    load_tokenizer(folder / "tokenizer.json")


@target(b"abc", "\N{GRINNING FACE}\u0000x".encode(), b"\3abcabd", share=4.0)
def tokenizer(data: bytes) -> None:
    """Any text with any alphabet, to tokens and back."""
    from tinyllm.tokens.characters import UNKNOWN_ID, CharacterTokenizer

    draw = Draw(data)
    made, text = CharacterTokenizer(draw.word()), draw.text()
    encoded = made.encode(text)
    known = "".join(c if c in made.alphabet else "\N{REPLACEMENT CHARACTER}" for c in text)
    assert made.decode(encoded) == known
    assert all(
        (token == UNKNOWN_ID) == (c not in made.alphabet)
        for token, c in zip(encoded, text, strict=True)
    )


@target(b"\2\0\1abc", "\4\0\1\2\3\N{GRINNING FACE}".encode(), share=2.0)
def byte_pairs(data: bytes) -> None:
    """Any text with any pairs of tokens, to tokens and back; and what a changed file holds."""
    from tinyllm.base.errors import TinyLLMError
    from tinyllm.tokens.byte_level import PRINTABLE, whole_text
    from tinyllm.tokens.byte_pairs import BytePairTokenizer

    draw = Draw(data)
    names, merges = list(PRINTABLE), []
    for _ in range(draw.byte() % 20):
        pair = (names[-1 - draw.byte() % len(names)], names[-1 - draw.byte() % len(names)])
        if pair not in merges:
            merges.append(pair)
            names.append("".join(pair))
    made, text = BytePairTokenizer(merges), draw.text()
    assert made.decode(made.encode(text)) == whole_text(text)
    path = good.scratch() / "tokenizer.json"
    made.save_state(path)
    assert BytePairTokenizer.load_state(path) == made
    path.write_bytes(changed_json(json.loads(path.read_text("utf-8")), draw))
    with contextlib.suppress(TinyLLMError):
        BytePairTokenizer.load_state(path).encode(text)


@target(b"\0\3\0\1\5", b"\2\3\0\1\0", b"\1\4\5", words=_JSON)
def working_checkpoints(data: bytes) -> None:
    """The folder of a run that was interrupted."""
    import torch

    from tinyllm.training.resume import TrainingState, WorkingCheckpoints

    draw = Draw(data)
    source = good.scratch() / "good-working"
    if not source.exists():
        source.mkdir()
        for step in (1, 2):
            state = TrainingState(step, {"a": torch.ones(3)}, {"epoch": 1})
            WorkingCheckpoints(source).save(state)
    place = _spoiled(source, "working", draw)
    if draw.byte() & 1:
        (place / f"step-{draw.byte()}.json").write_bytes(draw.rest())
    found = WorkingCheckpoints(place).load_latest()
    assert found is None or isinstance(found.step, int)


@target(b"\3\0\1\5", b"{}", b'{"bits_per_character": 1}', words=_JSON)
def figures(data: bytes) -> None:
    """The metrics of the stages, as `tinyllm summary` and a report read them."""
    from tinyllm.app.commands import summary
    from tinyllm.app.reporting.curves import draw_chart
    from tinyllm.app.reporting.revision import Revision
    from tinyllm.base.errors import TinyLLMError

    draw = Draw(data)
    place = good.empty("figures")
    (place / "reports/evaluate").mkdir(parents=True)
    (place / "reports/train").mkdir()
    metrics = {"bits_per_character": 2.5, "split": "test", "fingerprint": "a"}
    file = place / "reports/evaluate/metrics.json"
    file.write_bytes(changed_json(metrics, draw))
    (place / "reports/evaluate/positions.csv").write_bytes(b"context,bits\n1,2.5\n" + draw.piece())
    losses = {"val_bits_per_character": 2.5, "val_loss": 1.7}
    (place / "reports/train/metrics.json").write_bytes(changed_json(losses, draw))
    (place / "reports/train/history.csv").write_bytes(b"step,val_loss\n1,2.5\n" + draw.rest())
    revision = Revision(place)
    reads: tuple[Callable[[], object], ...] = (
        lambda: summary._read_figures(file, {"bits_per_character": float, "split": str}),
        revision.metrics,
        revision.positions,
        lambda: draw_chart(revision.history(), revision.history()),
    )
    for read in reads:
        with contextlib.suppress(TinyLLMError):
            read()
