"""Targets: texts of a corpus, and files that hold them."""

from tests.campaign.fuzz import good
from tests.campaign.fuzz.draw import Draw, changed_bytes, changed_json
from tests.campaign.fuzz.target import target


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


@target(b"\0\0\1\2\3", b"\1\0\3\5", b"\2\0\4\1\0", b"\3\0\2\7", b"\0\1\x1f\x8b\10")
def archives(data: bytes) -> None:
    """A compressed text."""
    from tinyllm.corpus.config import PrepareConfig
    from tinyllm.corpus.read import read_chunks
    from tinyllm.corpus.source import local_file

    draw = Draw(data)
    suffix = draw.choose(list(good.ARCHIVES))
    whole = good.contents(good.archives())[f"text.txt{suffix}"]
    path = good.scratch() / f"text.txt{suffix}"
    path.write_bytes(draw.rest() if draw.byte() else changed_bytes(whole, draw))
    "".join(read_chunks(local_file(path, path.name), PrepareConfig())).encode("utf-8")


@target(b"\0\1{}", b'\0\1{"text": "a"}\n{"text": 1}', b"\0\0\3\1", b"\1\0\4\1\0", b"\1\1PAR1")
def records(data: bytes) -> None:
    """JSON Lines and Parquet."""
    from tinyllm.corpus.config import PrepareConfig
    from tinyllm.corpus.read import read_chunks
    from tinyllm.corpus.source import local_file

    draw = Draw(data)
    name = draw.choose(["text.jsonl", "text.parquet"])
    whole = good.contents(good.archives())[name]
    path = good.scratch() / name
    path.write_bytes(draw.rest() if draw.byte() else changed_bytes(whole, draw))
    "".join(read_chunks(local_file(path, name), PrepareConfig())).encode("utf-8")


@target(b"\0\1\2", b"\3\0\1{}", b"\1\5\5")
def summaries(data: bytes) -> None:
    """The description of a prepared corpus, and the text beside it."""
    from tinyllm.tokens.config import TokenizeConfig
    from tinyllm.tokens.encode import tokenize_corpus

    draw = Draw(data)
    place = good.empty("prepared")
    for name, content in good.contents(good.prepared_folder()).items():
        (place / name).write_bytes(content)
    if draw.byte() & 1:
        shard = place / "train-00000.txt"
        shard.write_bytes(changed_bytes(shard.read_bytes(), draw))
    if draw.byte() & 1:
        summary = good.document(good.prepared_folder() / "summary.json")
        (place / "summary.json").write_bytes(changed_json(summary, draw))
    tokenize_corpus(TokenizeConfig(), place, good.empty("encoded") / "tokens")
