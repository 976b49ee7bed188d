"""What passes before the first training step, part by part, as the pipeline starts the stage train.

    python benchmarks/start.py [REPEATS] [PARAMS] [TEXT]

PARAMS is a params.yaml or a preset, TEXT the text to train on instead of what that names. The
project is a copy in a temporary folder without a store, whose stages prepare and tokenize have run.
A table gives, for each part, the median, least and most seconds of REPEATS new processes, and the
median of the processor time of all its threads: on a machine that others use too, that is what can
be compared. The last row but one is the first step, in which oneDNN makes its kernels, the order of
accumulation is checked and memory is first touched, and the last one a step after it.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

SINCE = "TINYLLM_BENCHMARK_STARTED"
PARTS = (
    "Python, click, config classes",
    "checks of params.yaml",
    "options",
    "importing torch, numerics",
    "importing the training",
    "fingerprint, record of the run",
    "data, teacher and model",
    "first step",
    "second step",
)


class Enough(BaseException):
    """Ends the program once its second step has been measured."""


def child() -> None:
    """Run the stage in this process until its second step, and print when each part ended."""
    marks = [(time.time() - float(os.environ[SINCE]), time.process_time())]

    def mark() -> None:
        marks.append((time.time() - float(os.environ[SINCE]), time.process_time()))

    from stages.train import PATHS
    from tinyllm.base.command import run_stage
    from tinyllm.base.events import find_watcher
    from tinyllm.training import command

    marks.clear()
    mark()
    watcher = find_watcher()
    assert watcher
    marked(watcher, "check_params", behind=mark)
    marked(command, "setup_numerics", before=mark, behind=mark)
    train = command._train

    def begin(*arguments):
        from tinyllm.training import loop, run

        mark()
        marked(run, "run_training", before=mark)
        taken = loop.take_step

        def step(training):
            mark()
            if len(marks) == len(PARTS):
                report = [dict(zip(PARTS, values, strict=True)) for values in differences(marks)]
                print(json.dumps(report), flush=True)
                raise Enough
            return taken(training)

        loop.take_step = step
        return train(*arguments)

    command._train = begin
    try:
        run_stage(command.train, PATHS)
    except Enough:
        sys.exit()


def marked(module, name: str, before=lambda: None, behind=lambda: None) -> None:
    """Have functions called before and behind one of a module."""
    function = getattr(module, name)

    def around(*arguments, **named):
        before()
        result = function(*arguments, **named)
        behind()
        return result

    setattr(module, name, around)


def differences(marks: list[tuple[float, float]]) -> list[list[float]]:
    """Wall and processor seconds of each part."""
    return [
        [b - a for a, b in zip((0.0, *times), times, strict=False)]
        for times in zip(*marks, strict=True)
    ]


def main(repeats: int, params: Path, text: Path | None) -> None:
    """Make the project, start the stage `repeats` times, and print a table."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for name in ("stages", "data/raw"):
            shutil.copytree(ROOT / name, place / name)
        settings = params.read_text(encoding="utf-8")
        if text:
            named = next(line for line in settings.splitlines() if line.startswith("  source:"))
            settings = settings.replace(named, f"  source: {text.resolve()}")
        (place / "params.yaml").write_text(settings, encoding="utf-8")
        nobody = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org")
        run(place, "git", "init", "--quiet")
        run(place, "git", "add", "params.yaml", "stages")
        run(place, "git", *nobody, "commit", "--quiet", "--message", "start")
        for stage in ("prepare", "tokenize"):
            run(place, sys.executable, "-m", f"stages.{stage}")
        reports = [start(place) for _ in range(repeats)]
    print("| | s, median | least | most | processor s |")
    print("|---|---|---|---|---|")
    for part in (*PARTS, "to the first step", "to the end of the first step"):
        ends = {"to the first step": PARTS[:-2], "to the end of the first step": PARTS[:-1]}
        parts = ends.get(part, (part,))
        wall, cpu = ([sum(r[kind][p] for p in parts) for r in reports] for kind in (0, 1))
        shown = (statistics.median(wall), min(wall), max(wall), statistics.median(cpu))
        print(f"| {part} | {' | '.join(f'{value:.2f}' for value in shown)} |")


def start(place: Path) -> list[dict[str, float]]:
    """Seconds of each part in a new process: of the clock, and of its threads."""
    shutil.rmtree(place / ".tinyllm", ignore_errors=True)
    program = [sys.executable, __file__, "--child"]
    lines = run(place, *program, **{SINCE: str(time.time())}).splitlines()
    return json.loads(next(line for line in lines if line.startswith("[")))


def run(place: Path, *command: str, **environment: str) -> str:
    """Run a command in the project; its delivery to MLflow is left to others."""
    ours = {"PYTHONPATH": str(ROOT), "TINYLLM_DELIVERED_ELSEWHERE": "1"}
    return subprocess.run(
        command,
        cwd=place,
        env=os.environ | ours | environment,
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ).stdout


if __name__ == "__main__":
    if sys.argv[1:] == ["--child"]:
        child()
    else:
        places = [Path(argument) for argument in sys.argv[2:]]
        main(
            int(sys.argv[1]) if len(sys.argv) > 1 else 5,
            places[0] if places else ROOT / "params.yaml",
            places[1] if len(places) > 1 else None,
        )
