"""Speed and memory of prepare and tokenize beside `cp` and what others use for the same.

    python benchmarks/corpus.py FILE [WORKERS ...] [--peers PYTHON] [--turns TURNS]

Prepares and tokenizes a text (see large_text.py) in a temporary folder, with each number of
workers, and prints megabytes of text a second and the peak of memory: the proportional set size of
all processes together. The peers, with the Python of an environment that has `datasets` and
`tokenizers`, read the same file and write tokens of characters: `datasets.map` with a tokenizer of
the `tokenizers` library, and the way of nanoGPT's script for characters, a dictionary look-up over
the whole text in memory. `cp` copies the file within the same folder, `cp and sync` also waits for
the disk, as prepare and tokenize do. A small model, trained for 20 steps, is then evaluated; both
read a part of the text, of which `evaluate.max_characters` and others say how much.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
PEERS = Path(__file__).with_name("corpus_peers.py")
SMALL = (
    *("--d-model=32", "--num-heads=1", "--num-layers=1", "--d-ff=64", "--sequence-length=64"),
    *("--max-steps=20", "--batch-size=8", "--warmup-steps=2"),
)


def run(command: list[str]) -> tuple[float, float]:
    """Run a command; return its seconds, and the megabytes of its processes at most."""
    peak, done = 0, threading.Event()

    def watch(process: psutil.Process) -> None:
        nonlocal peak
        while not done.wait(0.05):
            peak = max(peak, sum(map(memory, family(process))))

    since = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=ROOT
    ) as child:
        watcher = threading.Thread(target=watch, args=(psutil.Process(child.pid),))
        watcher.start()
        _, errors = child.communicate()
        elapsed = time.perf_counter() - since
        done.set()
        watcher.join()
    if child.returncode:
        sys.exit(errors.decode()[-2000:])
    return elapsed, peak / 1e6


def family(process: psutil.Process) -> list[psutil.Process]:
    """The process and all that it started."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def memory(process: psutil.Process) -> int:
    """Bytes of a process, its share of what it shares."""
    try:
        return process.memory_full_info().pss
    except psutil.Error:
        return 0


def our_commands(text: Path, place: Path, workers: list[int]) -> dict[str, list[str]]:
    """Prepare and tokenize with each number of workers, then evaluate with a small model."""
    tinyllm = [sys.executable, "-m", "tinyllm.app.cli"]
    found = {}
    for count in workers:
        flag, prepared, tokens = ["--workers", str(count)], f"{place}/p{count}", f"{place}/t{count}"
        prepare = ["prepare", "--source", str(text), "--out", prepared, *flag]
        tokenize = ["tokenize", "--prepared", prepared, "--out", tokens, *flag]
        found[f"prepare, {count} workers"] = [*tinyllm, *prepare]
        found[f"tokenize, {count} workers"] = [*tinyllm, *tokenize]
    model, data = f"{place}/model", ["--tokens", tokens, "--no-tracking"]
    train = ["train", *data, "--out", model, "--reports", f"{place}/train", *SMALL]
    evaluate = ["evaluate", *data, "--checkpoint", model, "--out", f"{place}/report"]
    found["train, 20 steps"] = [*tinyllm, *train]
    found["evaluate"] = [*tinyllm, *evaluate]
    return found


def main() -> None:
    """Measure what the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--peers", help="a Python that has datasets and tokenizers")
    parser.add_argument("--turns", type=int, default=1)
    options = parser.parse_args()
    options.file = options.file.resolve()
    megabytes = options.file.stat().st_size / 1e6
    with tempfile.TemporaryDirectory(prefix="corpus-", dir=options.file.parent) as folder:
        place = Path(folder)
        paths = [str(options.file), f"{place}/copy"]
        commands = {
            "cp": ["cp", *paths],
            "cp and sync": ["sh", "-c", 'cp "$0" "$1" && sync "$1"', *paths],
            **our_commands(options.file, place, options.workers),
        }
        for name in ("datasets", "nanogpt") if options.peers else ():
            commands[name] = [options.peers, str(PEERS), name, str(options.file), f"{place}/{name}"]
        print(f"{'':24} {'seconds':>9} {'MB/s':>9} {'peak MB':>9}")
        for _ in range(options.turns):
            for name, command in commands.items():
                (place / "copy").unlink(missing_ok=True)
                seconds, peak = run(command)
                print(
                    f"{name:24} {seconds:9.2f} {megabytes / seconds:9.0f} {peak:9.0f}", flush=True
                )
            for part in place.iterdir():
                shutil.rmtree(part) if part.is_dir() else part.unlink()


if __name__ == "__main__":
    main()
