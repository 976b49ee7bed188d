"""The pages of the site, from what was gathered and from the project's own folder."""

import datetime as dt
import functools
import shutil
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from tinyllm.app.site.drawing import draw
from tinyllm.app.site.gather import CURVES, Collection, RunRecord
from tinyllm.app.tracking.differences import telling
from tinyllm.base.outs import OutFolder
from tinyllm.base.replacing import new_directory

_SIGN = b"<!doctype html>\n<!-- written by tinyllm site -->"
SITE = OutFolder(
    "tinyllm site",
    (
        "index.html",
        "models.html",
        "reports.html",
        "playground.html",
        "runs/*.html",
        "reports/*.png",
    ),
    "index.html",
    (_SIGN,),
)
_PICTURES = {
    "curves": "Training and validation loss, in bits per character.",
    "positions": "Loss by the number of tokens that the model has seen before.",
    "surprise": "How much each character of unseen text surprised the model.",
}
_MINUTE, _HOUR = 60, 3600


def write_site(found: Collection, project: Path, out: Path) -> int:
    """Write the site into a folder, in the place of an earlier one; return the number of pages.

    Args:
        found: runs and models.
        project: with `reports` and `models/export`; it may lack both.
        out: the folder.

    Raises:
        ConfigError: the folder holds something that this command did not write.
    """
    pictures = sorted((project / "reports").glob("*/*.png"))
    playground = project / "models" / "export" / "playground.html"
    ids = [run.facts.run_id for run in found.runs]
    with new_directory(out, SITE) as folder:
        pages = _environment()
        pages.globals |= {
            "site": found,
            "links": _links(found, pictures, playground),
            "run_ids": set(ids),
            "written": dt.datetime.now(tz=dt.UTC).timestamp(),
            "telling": telling([run.facts.params for run in found.runs]),
            "pictures": [(f"{one.parent.name}-{one.name}", _caption(one)) for one in pictures],
        }
        _render(pages, folder, "index.html", data=_for_comparison(found))
        for name in ("models.html", "reports.html"):
            if name in pages.globals["links"]:  # type: ignore[operator]  # any object, to jinja2
                _render(pages, folder, name)
        (folder / "runs").mkdir()
        for run in found.runs:
            _render(pages, folder, "run.html", f"runs/{run.facts.run_id}.html", run=run)
        if pictures:
            (folder / "reports").mkdir()
        for one in pictures:
            shutil.copyfile(one, folder / "reports" / f"{one.parent.name}-{one.name}")
        if playground.is_file():
            shutil.copyfile(playground, folder / "playground.html")
        return sum(1 for _ in folder.rglob("*.html"))


def _links(found: Collection, pictures: list[Path], playground: Path) -> dict[str, str]:
    """The pages that there are, and what they are called."""
    there = {
        "index.html": ("Runs", True),
        "models.html": ("Models", bool(found.models)),
        "reports.html": ("Reports", bool(pictures)),
        "playground.html": ("Playground", playground.is_file()),
    }
    return {name: title for name, (title, is_there) in there.items() if is_there}


def _render(
    pages: Environment, folder: Path, template: str, place: str = "", **values: Any
) -> None:
    place = place or template
    root = "../" * place.count("/")
    text = pages.get_template(template).render(root=root, here=place, **values)
    (folder / place).write_bytes(_SIGN + b"\n" + text.encode())


def _environment() -> Environment:
    pages = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {
        "bits": _bits,
        "when": _when,
        "duration": _duration,
        "card": _card,
        "number": lambda value: f"{value:.6g}",
    }
    pages.globals |= {"test_bits": test_bits, "val_bits": val_bits, "curves": _curves}
    return pages


def test_bits(run: RunRecord) -> float | None:
    """The loss on the test split, in bits per character."""
    return run.facts.metrics.get("test_bits_per_character")


def val_bits(run: RunRecord) -> float | None:
    """The loss on the validation split, in bits per character."""
    metrics = run.facts.metrics
    return metrics.get("val_bits_per_character", metrics.get("val_bits"))


def _curves(run: RunRecord) -> Markup:
    return draw(run.curves, f"Losses of {run.facts.name}")


def _for_comparison(found: Collection) -> dict[str, Any]:
    """What the program of the page draws: names and curves, of which most digits say nothing."""
    runs = {
        run.facts.run_id: {
            "name": run.facts.name,
            "curves": {
                name: [[step, round(value, 4)] for step, value in points]
                for name, points in run.curves.items()
            },
        }
        for run in found.runs
    }
    return {"runs": runs, "losses": CURVES}


def _bits(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _when(seconds: float | str) -> str:
    if isinstance(seconds, str):
        moment = dt.datetime.fromisoformat(seconds)
    else:
        moment = dt.datetime.fromtimestamp(seconds, tz=dt.UTC)
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")


def _duration(seconds: float) -> str:
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE:.0f} min {seconds % _MINUTE:.0f} s"
    return f"{seconds // _HOUR:.0f} h {seconds % _HOUR // _MINUTE:.0f} min"


def _caption(picture: Path) -> str:
    return _PICTURES.get(picture.stem, f"{picture.parent.name}: {picture.stem}")


@functools.cache
def _markdown() -> MarkdownIt:
    # markup in a card is text; its pictures lie in other places
    return MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")


def _card(text: str) -> Markup:
    """A model card, whose markup other than Markdown is shown as text."""
    # the parser escapes whatever it passes on
    return Markup(_markdown().render(text))  # noqa: S704
