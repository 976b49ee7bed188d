"""Cases: every file of a corpus is taken or named."""

import json
import os
from pathlib import Path

from tests.campaign.case import Mechanism, case
from tests.campaign.world import Result, World

CORPUS = Mechanism.CORPUS
LINES = "".join(f"Line {n * 7919 % 1000} of a text, which is long enough.\n" for n in range(400))
RUSSIAN = (
    "Все счастливые семьи похожи друг на друга, каждая несчастливая семья "  # noqa: RUF001  # Cyrillic is what it tests
    "несчастлива по-своему. Всё смешалось в доме Облонских. Жена узнала, что "
    "муж был в связи с бывшею в их доме француженкою-гувернанткой.\n"  # noqa: RUF001  # Cyrillic is what it tests
)


def corpus(world: World, **files: str | bytes) -> Path:
    """A folder of files."""
    place = world.folder / "c"
    place.mkdir(exist_ok=True)
    for name, data in files.items():
        write(place, name, data)
    return place


def write(place: Path, name: str, data: str | bytes = LINES) -> None:
    """Write a file of the corpus."""
    (place / name).parent.mkdir(parents=True, exist_ok=True)
    (place / name).write_bytes(data.encode() if isinstance(data, str) else data)


def prepare(world: World, *more: str, source: str = "c", **how: object) -> Result:
    """Prepare the corpus."""
    return world.tinyllm("prepare", "--source", source, "--out", "p", *more, **how)


def files_of(world: World) -> int:
    """How many files the summary counts."""
    return int(json.loads((world.folder / "p/summary.json").read_text())["files"])


@case(CORPUS, ".ipynb_checkpoints/, ._x.txt, .#x.txt, x.txt~, #x.txt#, __pycache__/", "left out")
def hidden_files(world: World) -> None:
    """What programs leave beside a text is not the text."""
    place = corpus(world)
    hidden = [".ipynb_checkpoints/x.txt", "._x.txt", ".#x.txt", "#x.txt#", "__pycache__/x.txt"]
    hidden += ["x.txt~", "__MACOSX/x.txt", ".git/x.txt", ".~lock.x.txt#"]
    for name in ("x.txt", *hidden):
        write(place, name)
    out = prepare(world, "--pattern", "*").succeeded("hidden", "left out 9")
    assert files_of(world) == 1, out


@case(CORPUS, "X.TXT, y.Txt, pattern *.txt; x.txt, pattern *.TXT", "taken")
def case_blind(world: World) -> None:
    """Windows writes names in capitals."""
    place = corpus(world)
    for name in ("X.TXT", "y.Txt", "z.txt"):
        write(place, name, f"{name}\n" * 50)
    for pattern in ("*.txt", "*.TXT", "**/*.txt", "?.txt"):
        prepare(world, "--pattern", pattern).succeeded()
        assert files_of(world) == 3, pattern


@case(CORPUS, "a dangling link, a link to itself", "left out and named")
def dangling_links(world: World) -> None:
    """A link to nothing holds no text, and is named."""
    place = corpus(world)
    write(place, "x.txt")
    (place / "gone.txt").symlink_to("nowhere.txt")
    (place / "loop.txt").symlink_to("loop.txt")
    prepare(world).succeeded("gone.txt", "loop.txt")
    assert files_of(world) == 1


@case(CORPUS, "a link to another file of the corpus; a link to its own folder", "taken once, named")
def links_inside(world: World) -> None:
    """A text is not trained on twice."""
    place = corpus(world)
    write(place, "x.txt")
    (place / "again.txt").symlink_to("x.txt")
    (place / "up").symlink_to(".")
    prepare(world).succeeded("again.txt", "up")
    assert files_of(world) == 1


@case(CORPUS, "a link to a file elsewhere", "taken")
def links_outside(world: World) -> None:
    """A link is a way to put a text into a corpus."""
    place = corpus(world)
    write(world.folder, "elsewhere.txt")
    (place / "x.txt").symlink_to(world.folder / "elsewhere.txt")
    prepare(world).succeeded()
    assert files_of(world) == 1


@case(CORPUS, "a FIFO, a socket, a link to /dev/zero, named *.txt", "left out and named")
def no_regular_files(world: World) -> None:
    """What is no file is never opened."""
    place = corpus(world)
    write(place, "x.txt")
    os.mkfifo(place / "pipe.txt")
    (place / "zero.txt").symlink_to("/dev/zero")
    prepare(world).succeeded("pipe.txt", "zero.txt")
    assert files_of(world) == 1


@case(CORPUS, "prepare.source is a FIFO, /dev/zero, a socket", "refused with a sentence")
def source_is_no_file(world: World) -> None:
    """Nor when it is the source itself."""
    os.mkfifo(world.folder / "pipe")
    for source in ("pipe", "/dev/zero"):
        prepare(world, source=source).told("prepare.source")


@case(CORPUS, "empty files, files of another kind", "counted and named")
def left_out_is_said(world: World) -> None:
    """The numbers and names stand on the screen."""
    place = corpus(world)
    for name in ("a.txt", "b.txt", "read.me", "data.csv", "deep/er/c.json"):
        write(place, name, f"{name}\n" * 50)
    write(place, "empty.txt", "")
    out = prepare(world).succeeded("2 files", "left out 4", "empty.txt", "read.me", "data.csv")
    assert "deep/er/c.json" in out


@case(CORPUS, "200 files of another kind", "the summary stays short")
def many_left_out(world: World) -> None:
    """Names of a few, the number of all."""
    place = corpus(world)
    write(place, "a.txt")
    for number in range(200):
        write(place, f"{number}.csv", "1,2\n")
    out = prepare(world).succeeded("200")
    assert len(out.splitlines()) < 15
    assert max(map(len, out.splitlines())) < 300


BLIND = "setpriv --bounding-set=-dac_override,-dac_read_search -- "


@case(CORPUS, "a folder or a file that cannot be read", "refused, never skipped")
def unreadable(world: World) -> None:
    """Missing rights are not missing text."""
    place = corpus(world)
    write(place, "a.txt")
    write(place, "locked/b.txt")
    (place / "locked").chmod(0)
    blind = BLIND if os.geteuid() == 0 else ""
    line = f"{blind}$(which tinyllm) prepare --source c --out p"
    world.shell(line).told("locked", "Permission denied")
    (place / "locked").chmod(0o755)
    (place / "a.txt").chmod(0)
    world.shell(line).told("a.txt", "Permission denied")


@case(CORPUS, "names that are not UTF-8, with newlines, escapes, markup", "taken, shown as escapes")
def nasty_names(world: World) -> None:
    """A name is shown, never obeyed."""
    place = corpus(world)
    for name in (b"\xff.txt", b"a\nb.txt", b"\x1b[31m.txt", b"[x].txt", b"-rf.txt", b" .txt"):
        Path(os.fsdecode(bytes(place) + b"/" + name)).write_text(f"{name!r}\n" * 50)
        Path(os.fsdecode(bytes(place) + b"/" + name + b".csv")).write_text("1\n")
    out = prepare(world).succeeded()
    assert files_of(world) == 6
    assert "\x1b" not in out


@case(CORPUS, "KOI8-R with `encoding: detect`", "what it was taken for is said, or it is refused")
def koi8(world: World) -> None:
    """No mojibake in silence."""
    corpus(world, **{"x.txt": (RUSSIAN * 30).encode("koi8-r")})
    result = prepare(world, "--encoding", "detect")
    if result.code == 0:
        assert "koi8" in result.out.lower()
        assert "счастливые" in (world.folder / "p/train-00000.txt").read_text()
    else:
        result.told("x.txt", "prepare.encoding")


@case(CORPUS, "eleven old encodings of six languages with `detect`", "right and said, or refused")
def detected_or_refused(world: World) -> None:
    """Each is read as what it is or not at all."""
    texts = {
        "Zażółć gęślą jaźń. Litwo, Ojczyzno moja! ty jesteś jak zdrowie.\n": (
            "iso8859-2",
            "cp1250",
        ),
        "Άνδρα μοι έννεπε, Μούσα, πολύτροπον, ος μάλα πολλά.\n": ("iso8859-7", "cp1253"),
        "בראשית ברא אלהים את השמים ואת הארץ.\n": ("cp1255",),
        "吾輩は猫である。名前はまだ無い。どこで生れたか。\n": ("shift_jis", "euc_jp"),
        "The quick brown fox went to the café.\n": ("cp1252", "mac-roman"),
        "Où êtes-vous, ma chère? Voilà l'été, le château.\n": ("cp1252", "cp850"),
    }
    wrong = []
    for text, encodings in texts.items():
        for encoding in encodings:
            corpus(world, **{"x.txt": (text * 40).encode(encoding)})
            result = prepare(world, "--encoding", "detect")
            if result.code:
                result.told("x.txt", "prepare.encoding")
            elif text.strip() not in (world.folder / "p/train-00000.txt").read_text():
                wrong.append((encoding, text))
    assert not wrong, f"misread: {wrong}"


@case(CORPUS, "UTF-8, UTF-16 and ASCII files with `detect`", "taken, and said")
def detected_for_certain(world: World) -> None:
    """What is certain is taken."""
    corpus(world, **{"a.txt": LINES, "b.txt": RUSSIAN * 9, "c.txt": (RUSSIAN * 9).encode("utf-16")})
    prepare(world, "--encoding", "detect").succeeded("utf-8", "utf-16")
    assert files_of(world) == 3


LICENCE = "This eBook is for the use of anyone anywhere under the Project Gutenberg License.\n"


def book(lines: int = 300) -> str:
    """A book as Project Gutenberg gives it: a quarter of it is licence."""
    head = f"The Project Gutenberg eBook of A Book\n{LICENCE}\n"
    start = "*** START OF THE PROJECT GUTENBERG EBOOK A BOOK ***\n"
    end = "*** END OF THE PROJECT GUTENBERG EBOOK A BOOK ***\n"
    return head + start + LINES[: lines * 40] + end + LICENCE * 60


@case(CORPUS, "a Gutenberg book", "warned that val and test are licence, with the option")
def gutenberg(world: World) -> None:
    """A warning, and the option does what it says."""
    corpus(world, **{"x.txt": book()})
    assert "prepare.strip_gutenberg" in prepare(world).err
    result = prepare(world, "--strip-gutenberg")
    assert "Gutenberg" not in result.err
    for name in ("train", "val", "test"):
        assert "Gutenberg" not in (world.folder / f"p/{name}.txt").read_text()


@case(CORPUS, "a Gutenberg book with CRLF and a BOM, older marks", "the same")
def old_gutenberg(world: World) -> None:
    """Other spellings of the marks."""
    old = (
        book()
        .replace("*** START OF THE", "***START OF THIS")
        .replace("*** END OF THE", "***END OF THIS")
    )
    corpus(world, **{"x.txt": b"\xef\xbb\xbf" + old.replace("\n", "\r\n").encode()})
    assert "prepare.strip_gutenberg" in prepare(world).err
    prepare(world, "--strip-gutenberg").succeeded()
    assert "Gutenberg" not in (world.folder / "p/test-00000.txt").read_text()


def words() -> str:
    """A list in alphabetical order."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    return "".join(f"{a}{b}{c}y\n" for a in letters for b in letters for c in letters[::3])


@case(
    CORPUS, "an alphabetical list", "warned that test holds the end, with the option that mends it"
)
def alphabetical(world: World) -> None:
    """Also in the wrong order, and with capitals."""
    corpus(world, **{"x.txt": words()})
    assert "prepare.split_by" in prepare(world).err
    result = prepare(world, "--split-by", "lines")
    assert "prepare.split_by" not in result.err
    firsts = {line[0] for line in (world.folder / "p/test-00000.txt").read_text().splitlines()}
    assert len(firsts) == 26


@case(CORPUS, "5,000 files of a line each", "warned, with the option that mends it")
def tiny_files(world: World) -> None:
    """Names or messages, one a file: cut one by one, nothing but their last letters is held out."""
    corpus(world, **{f"{number}.txt": f"short {number}\n" for number in range(5000)})
    assert "prepare.split_by to corpus" in prepare(world).err
    assert "prepare.split_by" not in prepare(world, "--split-by", "corpus").err
    assert len((world.folder / "p/test-00000.txt").read_text().splitlines()) > 400


@case(CORPUS, "a reversed list; entries of two lines; two sorted files", "warned")
def other_orders(world: World) -> None:
    """Order shows in what the splits begin their lines with."""
    entries = "".join(f"{word}\n" for word in words().split())
    turned = "".join(f"{word}\n" for word in reversed(words().split()))
    for text in (
        turned,
        "".join(f"{e}\n  see the other\n" for e in entries.split()),
        entries.upper(),
    ):
        corpus(world, **{"x.txt": text})
        assert "prepare.split_by" in prepare(world).err


@case(CORPUS, "the sample corpus, Russian prose, Chinese text", "no warning")
def no_false_alarm(world: World) -> None:
    """A clean corpus is left in peace."""
    place = world.outs("data/raw/sample")
    result = prepare(world, source=str(place / "data/raw/sample"))
    assert "warn" not in (result.out + result.err).lower(), str(result)
    text = (RUSSIAN + "天下大势,分久必合,合久必分。周末七国分争,并入于秦。\n") * 200
    corpus(world, **{"x.txt": text})
    assert "prepare." not in prepare(world).err


@case(CORPUS, "two files with the same text", "warned, with their names")
def same_text_twice(world: World) -> None:
    """Copies are pointed out."""
    corpus(world, **{"a.txt": LINES, "copy of a.txt": LINES, "b.txt": LINES[::-1]})
    err = prepare(world).err
    assert "copy of a.txt" in err


@case(CORPUS, "a line of a million brackets, blanks or line breaks to clean", "at most 10 s")
def crafted_lines(world: World) -> None:
    """Cleaning takes linear time."""
    count = 300_000
    lines = [
        "[" * count,
        " " * count + "x",
        "\n \t" * count + "x",
        "ACT " * count + ":",
        "Exit " * count,
    ]
    corpus(world, **{"x.txt": "\n".join(lines) + LINES})
    result = prepare(world, "--strip-stage-directions", "--strip-headings", limit=60)
    result.succeeded()
    assert result.seconds < 10, f"{result.seconds:.1f} s"


@case(CORPUS, "patterns that match nothing, are absolute, empty, or climb", "a sentence")
def nonsense_patterns(world: World) -> None:
    """No pattern ends in a traceback."""
    corpus(world, **{"x.txt": LINES})
    for pattern in ("*.md", "/etc/*", "", "../*", "[", "**x", "a/../*.txt", "\\"):
        prepare(world, "--pattern", pattern).told("prepare.pattern")


@case(CORPUS, "`dvc repro` with prepare.source=data/raw after `make setup`", "runs", slow=True)
def source_is_data_raw(world: World) -> None:
    """DVC takes the folder as it is after the set-up."""
    place = world.fresh()
    command = "dvc repro -s prepare"
    text = (place / "params.yaml").read_text()
    (place / "params.yaml").write_text(
        text.replace("data/raw/sample/the-salt-duke.txt", "data/raw")
    )
    world.shell(command, cwd=place, limit=120).succeeded()
    assert json.loads((place / "data/prepared/summary.json").read_text())["files"] == 6


@case(CORPUS, "a source with blanks, brackets, a dash, Cyrillic; a trailing slash; `./`", "taken")
def odd_sources(world: World) -> None:
    """A path is a path."""
    for name in ("a b", "[x]", "Война", "-x", "*", "a$b", "~", "x.txt"):
        write(world.folder / name, "t.txt")
        for source in (f"./{name}", f"{name}/"):
            world.tinyllm("prepare", f"--source={source}", "--out", "p").succeeded()
