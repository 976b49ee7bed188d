"""Targets: parameters, documents and tables."""

import json
import math
from typing import Any

from tests.campaign.fuzz import good
from tests.campaign.fuzz.draw import Draw, changed_json
from tests.campaign.fuzz.target import target

_YAML = (
    b"train:",
    b"learning_rate",
    b"{",
    b"[",
    b"&a",
    b"*a",
    b"!!int",
    b"!!python",
    b"<<:",
    b"---",
)


@target(
    b"train: {max_steps: 10}", b"model: {d_model: 1e3}", b"a: &a [*a]", b"%YAML 1.2\n---\n",
    words=_YAML, share=2.0,
)  # fmt: skip
def params(data: bytes) -> None:
    """params.yaml."""
    from tinyllm.app.params import load_params

    path = good.scratch() / "params.yaml"
    path.write_bytes(data)
    load_params(path)


@target(b"\0\1\2", b"\3\4\50\5", share=2.0)
def sections(data: bytes) -> None:
    """Values of every type for every parameter."""
    from tinyllm.app.params import SECTIONS, _check, flatten
    from tinyllm.base.command import section_arguments
    from tinyllm.inference.config import SamplingConfig

    draw = Draw(data)
    raw: dict[str, Any] = {}
    while draw.more():
        section = draw.choose(list(SECTIONS))
        fields = list(SECTIONS[section].model_fields)
        raw.setdefault(section, {})[draw.choose(fields)] = draw.value()
        SamplingConfig.check_value(draw.choose(list(SamplingConfig.model_fields)), draw.value())
    checked = _check(raw, "here")
    flatten(checked)
    for section in checked.values():
        section_arguments(section)


@target(b"{}", b"[1, 2]", b'{"a": 1e999}', b"[[[[", b"\xef\xbb\xbf1", b"1" * 60, share=4.0)
def documents(data: bytes) -> None:
    """Any JSON document."""
    from tinyllm.base.files import read_json

    path = good.scratch() / "document.json"
    path.write_bytes(data)
    read_json(path)


@target(b"a,b\n1,2\n", b'"a\n",b\n1', b"a,a\n1,2,3\n", b"step,val_loss\n1,nan\n", share=4.0)
def tables(data: bytes) -> None:
    """A table of numbers."""
    from tinyllm.base.files import read_csv

    path = good.scratch() / "table.csv"
    path.write_bytes(data)
    for row in read_csv(path, ("a", "b")):
        assert all(math.isfinite(row[key]) for key in ("a", "b"))


@target(b"schema: '2.0'\nstages:\n  a:\n    outs: []\n", b"stages: 3", words=_YAML)
def lock(data: bytes) -> None:
    """dvc.lock."""
    from tinyllm.app.verification.lock import read_lock

    place = good.scratch() / "lock"
    place.mkdir(exist_ok=True)
    (place / "dvc.lock").write_bytes(data)
    read_lock(place)


@target(b"\3\0\1", b"{}", share=2.0)
def huggingface_tokenizer(data: bytes) -> None:
    """A tokenizer in Hugging Face's format."""
    from tinyllm.formats.tokenizer_json import (
        huggingface_tokenizer as written,
    )
    from tinyllm.formats.tokenizer_json import (
        tokenizer_from_huggingface,
    )
    from tinyllm.tokens.byte_pairs import BytePairTokenizer
    from tinyllm.tokens.characters import CharacterTokenizer

    path, draw = good.scratch() / "tokenizer.json", Draw(data)
    pairs = BytePairTokenizer([("a", "b"), ("ab", "c")])
    made = pairs if draw.byte() & 1 else CharacterTokenizer("abc")
    whole = written(made)
    path.write_bytes(changed_json(whole, draw) if draw.more() else json.dumps(whole).encode())
    tokenizer_from_huggingface(path)
