"""Plots: PNG files, the same bytes for the same data, other bytes for other data."""

import numpy as np
import pytest

from tinyllm.evaluation import plots
from tinyllm.evaluation.plots import draw_curves, draw_positions, draw_surprise

HISTORY = [
    {"step": step, "train_loss": 3.0 / step, "val_loss": 3.1 / step + 0.1 * step}
    for step in (1, 2, 3, 4)
]
POSITIONS = [{"context": place, "bits": 4 / place} for place in range(1, 9)]
TEXT = "DUKE ORSMUND:\nWhat news,\tmy lord? $5 \\ {x}_^% \N{EURO SIGN}\x00 \N{PILE OF POO}"
BITS = np.linspace(0, 12, len(TEXT))

DRAWINGS = {
    "curves": lambda path: draw_curves(HISTORY, 2.0, path),
    "curve of one point": lambda path: draw_curves(HISTORY[:1], 2.0, path),
    "positions": lambda path: draw_positions(POSITIONS, 2.5, path),
    "surprise": lambda path: draw_surprise(TEXT, BITS, path),
    "surprise of nothing": lambda path: draw_surprise("", BITS, path),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_picture_is_a_png_and_the_same_bytes_each_time(name, tmp_path):
    contents = []
    for path in (tmp_path / "first.png", tmp_path / "new" / "second.png"):
        DRAWINGS[name](path)
        contents.append(path.read_bytes())
    assert contents[0].startswith(b"\x89PNG\r\n\x1a\n")
    assert contents[0].endswith(b"IEND\xaeB`\x82")
    assert contents[0] == contents[1]
    assert b"Software" not in contents[0]


def drawn(draw, *facts):
    def contents(folder):
        draw(*facts, folder / "picture.png")
        return (folder / "picture.png").read_bytes()

    return contents


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (drawn(draw_curves, HISTORY, 2.0), drawn(draw_curves, HISTORY[:3], 2.0)),
        (drawn(draw_positions, POSITIONS, 2.5), drawn(draw_positions, POSITIONS, 2.0)),
        (drawn(draw_surprise, "abc", BITS), drawn(draw_surprise, "abd", BITS)),
        (drawn(draw_surprise, "abc", BITS), drawn(draw_surprise, "abc", BITS + 1)),
        (drawn(draw_surprise, "a\nb", BITS), drawn(draw_surprise, "a b", BITS)),
    ],
)
def test_other_data_gives_another_picture(one, other, tmp_path):
    assert one(tmp_path) != other(tmp_path)


def test_a_passage_is_cut_where_the_picture_is_full(tmp_path):
    lines = "\n" * 24
    bits = np.zeros(100)
    first = drawn(draw_surprise, lines, bits)(tmp_path)
    assert drawn(draw_surprise, lines + "never shown", bits)(tmp_path) == first
    assert drawn(draw_surprise, lines[1:] + "shown", bits)(tmp_path) != first


def test_a_long_line_continues_in_the_next_row(tmp_path):
    bits = np.zeros(200)
    wrapped = drawn(draw_surprise, "a" * 77, bits)(tmp_path)
    assert wrapped != drawn(draw_surprise, "a" * 76, bits)(tmp_path)


def test_the_fonts_of_matplotlib_have_these_scripts(tmp_path, caplog, recwarn):
    text = "Ж é Ω ∑ שלום مرحبا ქართული ✂\n"
    draw_surprise(text, np.ones(len(text)), tmp_path / "a.png")
    assert not recwarn.list
    assert caplog.text == ""


def test_characters_without_a_font_are_drawn_by_their_code_points(tmp_path, caplog, recwarn):
    text = "天下大势 nobody \N{PILE OF POO}\U000f0000\n" * 3
    bits = np.ones(len(text))
    one, other = (
        drawn(draw_surprise, each, bits)(tmp_path) for each in (text, text.replace("天", "地"))
    )
    assert not recwarn.list
    assert caplog.text == ""
    assert one != other
    found = [plots._glyph(character)["s"] for character in "天势\N{PILE OF POO}"]
    assert found == ["59\n29", "52\nBF", "1F\n4A9"]


def test_every_character_is_drawn_without_a_warning(tmp_path, caplog, recwarn):
    numbers = np.random.default_rng(0).choice(0x110000, 400, replace=False)
    text = "".join(chr(number) for number in numbers if not 0xD800 <= number < 0xE000)
    draw_surprise(text, np.ones(len(text)), tmp_path / "a.png")
    assert not recwarn.list
    assert caplog.text == ""
