"""`tinyllm playground`."""

import os
from pathlib import Path

import click

from tinyllm.base.command import WorkCommand

_LONGEST_NAME = 400


@click.command(cls=WorkCommand)
@click.option(
    "--model",
    default="models/export",
    show_default=True,
    help="The export folder whose page to open; with --out also a checkpoint folder, "
    "or models:/NAME@ALIAS.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the model's page to this file first.",
)
@click.option("--print-path", is_flag=True, help="Print where the page is; do not open it.")
def playground(model: str, out: Path | None, print_path: bool) -> None:
    r"""Open the model in the browser: one HTML file that needs no server and no network.

    \b
    tinyllm playground
    tinyllm playground --model models:/tinyllm@champion --out champion.html
    """
    import webbrowser

    from tinyllm.base.errors import TinyLLMError

    if out is not None:
        from tinyllm.app.tracking.registry import locate_model
        from tinyllm.base.outs import check_places
        from tinyllm.formats.load import load_model
        from tinyllm.formats.playground import PAGE_FILE, write_playground

        check_places({"--out": (out, PAGE_FILE)})
        folder = locate_model(model)
        check_places({"--out": (out, PAGE_FILE)}, {"--model": folder})
        write_playground(load_model(folder), out, prompt="")
    page = (out or Path(model) / "playground.html").resolve()
    # unlike Path.is_file, also False for a name that no file can have
    if not os.path.isfile(page):  # noqa: PTH113
        shown = str(page)[:_LONGEST_NAME]
        raise TinyLLMError(
            f"There is no page at {shown}; run dvc repro with 'playground' in export.formats, "
            f"or write one with --out FILE."
        )
    click.echo(page)
    if not print_path:
        webbrowser.open(page.as_uri())
