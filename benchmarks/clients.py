"""What a client of the export waits for a character, beside its own export of the same model.

    python benchmarks/clients.py [EXPORT] [--repeats 15] [--only TEXT] [--python PATH]
                                 [--javascript FOLDER]

EXPORT is `models/export` by default. The clients are installed at first, into
`.tinyllm/clients`, unless the options name an interpreter with Optimum 0.1 and a folder with the
npm packages. Each writes 100 characters after a prompt, greedily, on one thread, from our files
and from its own in turns; its own are Optimum's ONNX graph and what transformers saves, both made
from our Hugging Face folder. llama.cpp has no such peer: its converter refuses tokenizers that are
not in its list.
"""

import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.interleave import ROOT, measure
from tests.clients.installing import make_node, make_python

PROMPT, COUNT = "What news, ", 100
CLIENTS = (
    "onnxruntime",
    "optimum",
    "transformers",
    "transformers.js, Node",
    "transformers.js, Chromium",
)
PACKAGES = ("transformers==4.57.6", "optimum-onnx==0.1.0", "onnxruntime==1.32.0")
NPM_PACKAGES = ("@huggingface/transformers@4.3.2", "puppeteer-core@24.43.1")
WORKER, SCRIPT_WORKER = (str(ROOT / f"benchmarks/client_worker.{kind}") for kind in ("py", "mjs"))


def install(python: str, javascript: str) -> tuple[str, str]:
    """The interpreter and the folder of packages, made if they are not given or there."""
    place = ROOT / ".tinyllm/clients"
    place.mkdir(parents=True, exist_ok=True)
    if not python:
        python = str(place / "python/bin/python")
        if not Path(python).exists():
            make_python(place / "python", *PACKAGES)
    if not javascript:
        javascript = str(place / "javascript")
        if not (place / "javascript/node_modules").exists():
            make_node(place / "javascript", *NPM_PACKAGES)
    return python, javascript


def make_own_export(python: str, ours: Path) -> Path:
    """What the clients' own tools make of the model."""
    own = ROOT / ".tinyllm/clients/own"
    shutil.rmtree(own, ignore_errors=True)
    command = [python, WORKER, "export", str(ours), str(own)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise click.ClickException(made.stderr[-2000:])
    return own


def command_of(client: str, folder: Path, python: str, javascript: str) -> list[str]:
    """The command of a worker."""
    words = [str(folder), PROMPT, str(COUNT)]
    if not client.startswith("transformers.js"):
        return [python, WORKER, client, *words]
    place = "node" if client.endswith("Node") else "chromium"
    return ["node", SCRIPT_WORKER, place, *words, javascript, shutil.which("chromium") or ""]


@click.command()
@click.argument("export", default=ROOT / "models/export", type=Path)
@click.option("--repeats", default=15, show_default=True)
@click.option("--only", default="", help="Clients whose name contains this text.")
@click.option("--python", default="", help="An interpreter with Optimum, instead of installing it.")
@click.option("--javascript", default="", help="A folder with transformers.js and puppeteer-core.")
def main(export: Path, repeats: int, only: str, python: str, javascript: str) -> None:
    """Measure each client on our files and on its own, in turns, and print a table."""
    python, javascript = install(python, javascript)
    ours = (export / "huggingface").resolve()
    folders = {"ours": ours, "own": make_own_export(python, ours)}
    print("| client | ours, ms per character | its own, ms | ours to its own |\n|---|---|---|---|")
    for client in filter(lambda client: only in client, CLIENTS):
        commands = {
            name: command_of(client, folder, python, javascript) for name, folder in folders.items()
        }
        found = measure(commands, repeats)
        ratio = statistics.median(a / b for a, b in zip(found["ours"], found["own"], strict=True))
        each = {name: 1000 * statistics.median(seconds) for name, seconds in found.items()}
        print(f"| {client} | {each['ours']:.3f} | {each['own']:.3f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
