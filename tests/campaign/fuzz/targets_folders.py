"""Targets: folders that commands are told to write."""

from tests.campaign.fuzz import good
from tests.campaign.fuzz.draw import Draw, changed_json
from tests.campaign.fuzz.target import target


@target(b"\0\1\2", b"\1\3abc\1{}", b"\2\3\0\1", share=1.0)
def foreign_folders(data: bytes) -> None:
    """A folder that a command is told to write, with anything in it: what is not ours stays."""
    from tinyllm.base.errors import TinyLLMError
    from tinyllm.base.outs import OutFolder
    from tinyllm.base.replacing import new_directory

    draw = Draw(data)
    kind = OutFolder(
        "tinyllm test", ("a.txt", "b/*.bin", "mark.json"), "mark.json", frozenset({"x"})
    )
    place = good.empty("folders") / "out"
    place.mkdir()
    mine = set()
    for _ in range(draw.byte() % 4):
        name = draw.choose(("a.txt", "b/c.bin", "mark.json", "mine.txt", "b/mine", "", ".git/x"))
        name = name or draw.word().replace("\0", "").strip("/.")[:60] or "x"
        file = place / name
        if ".." in file.parts or file.exists() or not file.parent.is_relative_to(place):
            continue
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(changed_json({"x": 1}, draw) if name == "mark.json" else b"mine")
        except OSError:
            continue
        if name in ("mine.txt", "b/mine", ".git/x"):
            mine.add(file)
    try:
        with new_directory(place, kind) as folder:
            (folder / "a.txt").write_text("new")
    except TinyLLMError:
        pass
    else:
        assert (place / "a.txt").read_text() == "new"
    assert all(file.exists() for file in mine)


@target(b"\0", b"\1\2", b"\3\0\1{}", share=1.0)
def abandoned_folders(data: bytes) -> None:
    """What a kill left beside a folder, and what only looks like it."""
    from tinyllm.base import replacing
    from tinyllm.base.errors import TinyLLMError
    from tinyllm.base.outs import OutFolder

    draw = Draw(data)
    kind = OutFolder("tinyllm test", ("a.txt", "mark.json"), "mark.json", frozenset({"x"}))
    above = good.empty("beside")
    place = above / "out"
    prefix = draw.choose((replacing.hidden_prefix(place), ".abcdefabcdef.", draw.word(), "x"))
    middle = draw.choose(("999999999.abc", "0.x", "1.y", draw.word(), "99999999999999999999.z"))
    suffix = draw.choose((".new.unfinished", ".old.unfinished", draw.word()))
    name = (prefix + middle + suffix).replace("/", "").replace("\0", "")[:200].strip()
    left = above / (name if name not in ("", ".", "..", "out") else "left")
    left.mkdir()
    (left / "a.txt").write_text("old")
    (left / "mark.json").write_bytes(changed_json({"x": 1}, draw))
    foreign = draw.byte() & 1
    if foreign:
        (left / "mine.txt").write_text("mine")
    try:
        with replacing.new_directory(place, kind) as folder:
            (folder / "a.txt").write_text("new")
    except TinyLLMError:
        pass
    unfinished = left.name.endswith(".new.unfinished")
    kept = [path for path in above.rglob("mine.txt") if path.read_text() == "mine"]
    assert kept or not foreign or unfinished
