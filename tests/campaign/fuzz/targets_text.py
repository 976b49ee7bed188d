"""Targets: parameters, documents, tables and corpus text."""

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


@target(
    b"\5utf-8abc", b"\6utf-16\xff\xfea\0", b"\6detect\xe4\xf6", b"\4zlib", b"\5rot13abc",
    words=(b"utf-7", b"idna", b"hex", b"base64", b"unicode_escape", b"undefined", b"punycode"),
)  # fmt: skip
def encodings(data: bytes) -> None:
    """Text in any encoding that Python may know."""
    from tinyllm.corpus.read import read_text

    draw = Draw(data)
    encoding = draw.word()
    path = good.scratch() / "corpus.txt"
    path.write_bytes(draw.rest())
    read_text(path, encoding).encode("utf-8")


@target(
    b"\xff\xff\0\1ACT I\nEnter X.\n[a]\n\n\n\nb",
    b"\xff\0\2\0\r\r\n\xc3\xa9",
    b"\xff\xff\1\x31[[[[",
    b"\xff\xff\0\0*** START OF THE PROJECT GUTENBERG EBOOK X ***\na",
    share=4.0,
    longest=2048,
)
def cleaning(data: bytes) -> None:
    """Text, cleaned with any options."""
    from tinyllm.corpus.clean import clean_text
    from tinyllm.corpus.config import PrepareConfig

    draw = Draw(data)
    bits = draw.number(2**16)
    fields = enumerate(PrepareConfig.model_fields.items())
    chosen = {name: bool(bits >> i & 1) for i, (name, of) in fields if of.annotation is bool}
    forms = ("NFC", "NFD", "NFKC", "NFKD", "none")
    config = PrepareConfig(unicode_form=forms[draw.byte() % len(forms)], **chosen)
    times = 1 + draw.byte() % 50
    clean_text(draw.rest().decode("utf-8", "replace") * times, config).encode("utf-8")


@target(
    b"*.txt", b"**", b"../*", b"/etc/*", b"[", b"", b"a/../b", words=(b"**", b"..", b"*"), share=0.5
)
def patterns(data: bytes) -> None:
    """Which files of a folder are taken; only such that are in it."""
    from tinyllm.corpus.read import find_files

    place = good.scratch() / "texts"
    if not place.exists():
        (place / "a" / "b").mkdir(parents=True)
        (place / "one.txt").write_text("x")
        (place / "a/b/two.txt").write_text("y")
    for path in find_files(place, data.decode("utf-8", "surrogateescape")):
        assert path.resolve().is_relative_to(place)


@target(b"\x80\x80\3abcabc", b"\1\xfe\1a", share=4.0)
def splits(data: bytes) -> None:
    """Texts cut into three; nothing is lost or in another order."""
    from tinyllm.corpus.config import PrepareConfig
    from tinyllm.corpus.shards import describe
    from tinyllm.corpus.split import Dealer, Shares, cut_pieces

    draw = Draw(data)
    config = PrepareConfig.parse(
        {"val_fraction": draw.number(2**16) / 2**16, "test_fraction": draw.number(2**16) / 2**16}
    )
    texts = [draw.piece().decode("utf-8", "replace") for _ in range(1 + draw.byte() % 4)]
    sizes = [[(number, len(text))] for number, text in enumerate(texts)]
    for how in ("file", "corpus"):
        cut = cut_pieces(sizes, config.model_copy(update={"split_by": how}))
        assert [sum(count for _, count in slices) for slices in cut] == [*map(len, texts)]
        assert all(count > 0 for slices in cut for _, count in slices)
    for text in texts:
        dealt = [*Dealer(Shares.of(config)).deal(text.splitlines(keepends=True))]
        assert "".join(line for _, line in dealt) == text
        assert describe(text)["characters"] == len(text)


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
    path.write_bytes(changed_json(written(made), draw))
    tokenizer_from_huggingface(path)
