"""Take the pictures that the README shows: `python docs/screenshots.py [PICTURE ...]`.

`curves` and `surprise` are plots of the last pipeline run, `playground` is its page in headless
Chromium. `runs`, `compare` and `model` are MLflow's pages as `make ui` shows them, `site` is the
static site on a phone; all four show three runs with different learning rates: of the project that
`--project` names, or of a reduced copy of this one, trained for it in minutes.
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
from docs.mlflow_pages import PAGES, photograph_pages, serving
from tests.project import ROOT, copy_project, run_in
from tests.proxy import free_port

IMAGES = ROOT / "docs" / "images"
PLOTS = {"curves": "evaluate/curves.png", "surprise": "evaluate/surprise.png"}
OWN = {*PLOTS, "playground"}
OF_RUNS = {*PAGES, "site"}
STEPS = 300


@click.command()
@click.argument("pictures", nargs=-1, type=click.Choice(sorted(OWN | OF_RUNS)))
@click.option(
    "--project",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A project with runs; otherwise three are trained.",
)
def main(pictures: tuple[str, ...], project: Path | None) -> None:
    """Write all pictures, or the named ones, to docs/images."""
    wanted = set(pictures or OWN | OF_RUNS)
    for name in wanted & PLOTS.keys():
        shutil.copyfile(ROOT / "reports" / PLOTS[name], IMAGES / f"{name}.png")
    if "playground" in wanted:
        _photograph_playground()
    if of_runs := wanted & OF_RUNS:
        with tempfile.TemporaryDirectory() as folder:
            _photograph_runs(project or _train_three(Path(folder) / "project"), of_runs)
    for name in wanted:
        _shrink(IMAGES / f"{name}.png")


def _photograph_runs(project: Path, wanted: set[str]) -> None:
    if pages := wanted & PAGES.keys():
        with serving(project, free_port()) as address:
            photograph_pages(address, {name: IMAGES / f"{name}.png" for name in pages})
    if "site" in wanted:
        run_in(project, "tinyllm", "site")
        with chromium(390, 844) as driver:
            driver.get((project / "site/runs/index.html").as_uri())
            photograph(driver, IMAGES / "site.png")


def _train_three(folder: Path) -> Path:
    """Train with three learning rates in a copy of the project; return its folder."""
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
    return folder


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
