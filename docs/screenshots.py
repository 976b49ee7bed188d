"""Take the pictures that the README shows: `python docs/screenshots.py [PICTURE ...]`.

`curves` and `surprise` are plots of the last pipeline run, `playground` is its page in headless
Chromium. `compare` and `model` are MLflow's pages on three runs with different learning rates: of
the store that `--store` names, or of a reduced copy of the project, trained for it in minutes.
Needs Debian's packages chromium, chromium-driver and pngquant, and selenium from the extra `docs`.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from docs.browser import chromium, photograph
from docs.mlflow_pages import STEPS, photograph_comparison, photograph_version, serving
from tests.project import ROOT, copy_project, run_in

IMAGES = ROOT / "docs" / "images"
PLOTS = {"curves": "evaluate/curves.png", "surprise": "evaluate/surprise.png"}
PAGES = {"compare": photograph_comparison, "model": photograph_version}


@click.command()
@click.argument("pictures", nargs=-1, type=click.Choice([*PLOTS, "playground", *PAGES]))
@click.option("--store", help="Tracking URI of a store with runs; otherwise three are trained.")
def main(pictures: tuple[str, ...], store: str | None) -> None:
    """Write all pictures, or the named ones, to docs/images."""
    wanted = set(pictures or [*PLOTS, "playground", *PAGES])
    for name in wanted & PLOTS.keys():
        shutil.copyfile(ROOT / "reports" / PLOTS[name], IMAGES / f"{name}.png")
    if "playground" in wanted:
        _photograph_playground()
    if pages := wanted & PAGES.keys():
        with (
            tempfile.TemporaryDirectory() as folder,
            serving(store or _train_three(Path(folder) / "project")) as address,
        ):
            for name in pages:
                PAGES[name](address, IMAGES / f"{name}.png")
    for name in wanted:
        _shrink(IMAGES / f"{name}.png")


def _train_three(folder: Path) -> str:
    """Train with three learning rates in a copy of the project; return the store's address."""
    folder.mkdir()
    copy_project(folder)
    params = (folder / "params.yaml").read_text(encoding="utf-8")
    (folder / "params.yaml").write_text(params.replace("max_steps: 60", f"max_steps: {STEPS}"))
    run_in(folder, "git", "commit", "--quiet", "--all", "--message", "enough steps for a curve")
    run_in(folder, "dvc", "repro")
    run_in(folder, "git", "add", "--all")
    run_in(folder, "git", "commit", "--quiet", "--message", "the pipeline ran")
    for rate in ("0.005", "0.08"):
        run_in(folder, "dvc", "exp", "run", "-S", f"train.learning_rate={rate}")
    run_in(folder, "tinyllm", "sync")
    return f"sqlite:///{folder / 'mlflow.db'}"


def _photograph_playground() -> None:
    with chromium(1200, 900) as driver:
        driver.get((ROOT / "models/export/playground.html").as_uri())
        driver.find_element("css selector", "textarea").send_keys("DUKE ORSMUND:\n")
        driver.find_element("id", "write").click()
        while driver.find_element("id", "stop").is_enabled():
            time.sleep(0.1)
        driver.find_element("id", "show-attention").click()
        driver.find_elements("css selector", "#text .own")[140].click()
        photograph(driver, IMAGES / "playground.png")


def _shrink(picture: Path) -> None:
    """Reduce the picture to 256 colors, enough for pages and plots."""
    command = ("pngquant", "--force", "--strip", "--speed", "1", "--output", picture, picture)
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
