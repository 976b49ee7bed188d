"""Tables and lines on the screen, in which every text is shown as it is.

rich reads brackets as markup, `:smile:` as an emoji and numbers as something to colour, and passes
terminal escapes on. What people named, wrote or trained on goes through here instead.
"""

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from tinyllm.base.text import plain

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

# lines in a file or a pipe are not wrapped
_UNWRAPPED = 1000
_KEPT_IN_PASSAGES = "\n\t"


def literal(text: str, *, passage: bool = False) -> "Text":
    """The text for rich, to be shown as it is.

    Args:
        text: from anywhere; control characters appear as escapes.
        passage: keep its newlines and tabs.
    """
    from rich.text import Text

    return Text(plain(text, _KEPT_IN_PASSAGES if passage else ""))


def write_passage(text: str) -> None:
    """Write text to standard output: as it is to a file or a pipe, with escapes to a terminal."""
    stream = sys.stdout
    stream.write(plain(text, _KEPT_IN_PASSAGES) if stream.isatty() else text)
    stream.flush()


def make_table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]] = (),
    *,
    wrapped: Sequence[str] = (),
    title: str = "",
    lined: bool = False,
) -> "Table":
    """A table of texts.

    Args:
        heads: of the columns.
        rows: cells, as many in each as there are heads; newlines in them appear as escapes.
        wrapped: heads of columns that may be wrapped; others are cut at the screen's edge.
        title: above the table.
        lined: with lines around the cells.
    """
    from rich.box import HEAVY_HEAD
    from rich.table import Table

    heading = literal(title) if title else None
    table = Table(box=HEAVY_HEAD if lined else None, pad_edge=lined, title=heading)
    for head in heads:
        table.add_column(literal(head), no_wrap=head not in wrapped)
    for row in rows:
        table.add_row(*(literal(cell) for cell in row))
    return table


def show(*parts: "Table | Text | str", cut: bool = False) -> None:
    """Print tables and lines, one below the other.

    Args:
        parts: a string is one or more lines, shown as they are.
        cut: make tables fit 80 columns in a file or a pipe, too.
    """
    from rich.console import Console

    terminal = Console().is_terminal
    screen = Console(
        width=None if terminal or cut else _UNWRAPPED, markup=False, highlight=False, emoji=False
    )
    for part in parts:
        screen.print(literal(part, passage=True) if isinstance(part, str) else part)
