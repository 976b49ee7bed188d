"""Kill a stage, the delivery, DVC or the making of a store at random moments; see that all is well.

    python -m tests.campaign.kills             20 kills, a line for each; exit code 1 at any fault
    python -m tests.campaign.kills 200 --seed 7

After each kill MLflow's store is absent or whole and every file of the user's is there. The same
command, run again to its end, writes the bytes of an undisturbed run. After each round of kills in
one project `tinyllm sync` brings to the store whatever the journals hold.
"""

import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from sqlite3 import OperationalError

import click
import yaml

from tests.campaign.contents import missing
from tests.campaign.killing import (
    STAGES,
    outs_of,
    repro_command,
    run_and_kill,
    run_until_it_succeeds,
    stage_command,
)
from tests.campaign.page import section_of_kills, write_section
from tests.campaign.store_kill import IN_PLACE, SYNC, kill_once
from tests.project import copy_project, run_in
from tinyllm.app.tracking.database import Condition, examine

ROUND = 10
# a run of seconds, and one export
_PARAMS = {"export": {"formats": ["pyfunc"], "verify_with": ["onnxruntime"]}}
_MINE = ("notes.txt", "models/mine.txt", "reports/mine.txt", "data/raw/mine.md", ".tinyllm/mine")
# what is killed, and how often; those with a delivery more
_SUBJECTS = {
    "prepare": 2, "tokenize": 2, "train": 5, "evaluate": 3, "export": 3, "repro": 3, "store": 2,
    "store in place": 1,
}  # fmt: skip
_WHOLE_WAYS = ("kill -9 group", "kill -9 first", "kill -9 stage")
_WAYS = {
    **dict.fromkeys(("prepare", "tokenize"), _WHOLE_WAYS),
    **dict.fromkeys(("train", "evaluate", "export"), (*_WHOLE_WAYS, "kill -9 delivery")),
    "repro": (*_WHOLE_WAYS, "kill -9 delivery", "SIGTERM", "Ctrl-C"),
}
# at most, of a store's making
_MAKING = 6.0


@dataclass
class Outcome:
    """One kill: of what, how, after how many seconds, in which stage, and what was wrong then."""

    subject: str
    way: str
    after: float
    running: str = ""
    tries: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        verdict = "; ".join(self.faults) or "well"
        where = f"{self.subject:14} {self.way:16} {self.after:5.2f} s"
        return f"{where}  {self.running:9} {self.tries} tries {self.seconds:5.1f} s  {verdict}"


@dataclass
class Reference:
    """A project whose pipeline ran undisturbed: its outs by stage, and each stage's seconds."""

    project: Path
    outs: dict[str, dict[str, bytes]]
    seconds: dict[str, float]

    @classmethod
    def make(cls, folder: Path) -> "Reference":
        """Run the reduced pipeline in a copy of the project, and take its time."""
        copy_project(folder)
        params = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
        text = yaml.safe_dump(params | _PARAMS)
        (folder / "params.yaml").write_text(text, encoding="utf-8")
        run_in(folder, "dvc", "repro")
        run_in(folder, "git", "add", "--all")
        run_in(folder, "git", "commit", "--quiet", "--message", "the pipeline ran")
        for name in _MINE:
            (folder / name).write_text(f"{name} is mine", encoding="utf-8")
        seconds = {}
        for stage in STAGES:
            since = time.monotonic()
            run_in(folder, *stage_command(folder, stage))
            seconds[stage] = time.monotonic() - since
        outs = {stage: outs_of(folder, stage) for stage in STAGES}
        # every round begins as a clone does: with neither a store nor a journal
        for name in ("mlruns", ".tinyllm/journal"):
            shutil.rmtree(folder / name)
        for file in folder.glob("mlflow.db*"):
            file.unlink()
        return cls(folder, outs, seconds)


class Round:
    """Several kills in one copy of a project."""

    def __init__(self, reference: Reference, project: Path, draw: random.Random) -> None:
        self._reference, self._project, self._draw = reference, project, draw
        shutil.copytree(reference.project, project, symlinks=True)
        self._tracked = run_in(project, "git", "ls-files").stdout.splitlines()
        self._before = self._mine()

    def kill(self, subject: str) -> Outcome:
        """Kill something once, and see what came of it."""
        since = time.monotonic()
        while True:
            outcome = (
                self._kill_store(subject) if subject.startswith("store") else self._kill(subject)
            )
            # what was over before it could be killed tells nothing
            if outcome.running != "finished":
                outcome.seconds = time.monotonic() - since
                return outcome

    def end(self) -> list[str]:
        """Bring everything to the store; return what it lacks then."""
        synced = run_in(self._project, "tinyllm", "sync", check=False)
        if synced.returncode:
            return [f"sync failed: {synced.stderr.strip()}"]
        return missing(self._project)

    def _kill(self, subject: str) -> Outcome:
        way = self._draw.choice(_WAYS[subject])
        stage = self._draw.choice(STAGES) if subject == "repro" else subject
        command = stage_command(self._project, stage)
        if subject == "repro":
            command = repro_command(stage)
            while way == "kill -9 delivery" and stage in ("prepare", "tokenize"):
                stage = self._draw.choice(STAGES)
                command = repro_command(stage)
        after = self._draw.uniform(0.05, self._reference.seconds[stage])
        started = run_and_kill(self._project, command, way, after)
        outcome = Outcome(subject, way, after, started.running)
        if started.running == "finished":
            # nobody else needed the machine this time
            self._reference.seconds[stage] = started.seconds
            return outcome
        if way == "kill -9 delivery" and started.code:
            outcome.faults.append(f"without its delivery it exited {started.code}")
        self._look(outcome)
        outcome.tries = run_until_it_succeeds(self._project, command)
        if not outcome.tries:
            outcome.faults.append("it does not run to its end any more")
        if not started.wait_for_family():
            outcome.faults.append("a part of it never ends")
        outcome.faults += self._differences(stage)
        self._look(outcome)
        return outcome

    def _kill_store(self, subject: str) -> Outcome:
        command = IN_PLACE if subject == "store in place" else SYNC
        after = self._draw.uniform(0.0, _MAKING)
        with tempfile.TemporaryDirectory() as folder:
            done = kill_once(Path(folder), command, after)
        outcome = Outcome(subject, "kill -9 group", after, done.left.value[:9], 1)
        outcome.faults += [] if done.good else [str(done)]
        return outcome

    def _look(self, outcome: Outcome) -> None:
        """The store is absent or whole, and nothing of the user's is gone or another."""
        with suppress(OperationalError):
            # one that a delivery writes at this moment is locked, and looked at after the next kill
            found = examine(self._project / "mlflow.db")
            if found not in (Condition.ABSENT, Condition.WHOLE):
                outcome.faults.append(f"the store is {found.value}")
        now = self._mine()
        outcome.faults += [f"{name} is gone" for name in self._before.keys() - now.keys()]
        changed = [name for name in now if self._before[name] != now[name]]
        outcome.faults += [f"{name} is changed" for name in changed]

    def _mine(self) -> dict[str, bytes]:
        """What is not the stages' to write."""
        outs = {name for stage in STAGES for name in self._reference.outs[stage]}
        names = [name for name in self._tracked if name not in outs and name != "dvc.lock"]
        files = [self._project / name for name in (*names, *_MINE)]
        return {str(f.relative_to(self._project)): f.read_bytes() for f in files if f.is_file()}

    def _differences(self, stage: str) -> list[str]:
        expected, found = self._reference.outs[stage], outs_of(self._project, stage)
        names = sorted(expected.keys() | found.keys())
        faults = [f"{n} differs" for n in names if expected.get(n) != found.get(n)]
        left = [str(path) for path in self._project.rglob("*.unfinished") if path.is_dir()]
        return faults + [f"{path} was left" for path in left]


def run_round(reference: Reference, project: Path, count: int, seed: int) -> list[Outcome]:
    """Kill so many times in a new copy of the project; the last line is what the store lacks."""
    draw = random.Random(seed)
    here = Round(reference, project, draw)
    outcomes = []
    # trained first, and so the run that the others record in is there
    subjects = ["train", *draw.choices(list(_SUBJECTS), list(_SUBJECTS.values()), k=count - 1)]
    for subject in subjects:
        outcomes.append(here.kill(subject))
        click.echo(str(outcomes[-1]))
    if lacking := here.end():
        outcomes[-1].faults += lacking
        click.echo(f"after sync: {'; '.join(lacking)}")
    shutil.rmtree(project)
    return outcomes


def _rows(outcomes: list[Outcome]) -> list[tuple[str, ...]]:
    """What was killed and how; how often, and how often all was well."""
    times = Counter((one.subject, one.way) for one in outcomes)
    well = Counter((one.subject, one.way) for one in outcomes if not one.faults)
    return [(*kind, str(times[kind]), str(well[kind])) for kind in sorted(times)]


@click.command()
@click.argument("kills", type=click.IntRange(1), default=20)
@click.option("--seed", type=int, default=20, show_default=True)
@click.option("--jobs", type=click.IntRange(1), default=2, show_default=True)
@click.option("--write", is_flag=True, help="Write the section of docs/reliability.md.")
def main(kills: int, seed: int, jobs: int, write: bool) -> None:
    """Kill so many times (KILLS), several times in each copy of a project."""
    sizes = [min(ROUND, kills - first) for first in range(0, kills, ROUND)]
    since = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kills-") as folder, ThreadPoolExecutor(jobs) as pool:
        reference = Reference.make(Path(folder) / "reference")
        click.echo({stage: round(took, 1) for stage, took in reference.seconds.items()})
        rounds = [
            pool.submit(run_round, reference, Path(folder) / f"round-{i}", size, seed * 1000 + i)
            for i, size in enumerate(sizes)
        ]
        outcomes = [outcome for one in rounds for outcome in one.result()]
    well = sum(not outcome.faults for outcome in outcomes)
    took = (time.monotonic() - since) / kills
    click.echo(f"{well} of {kills} kills left everything well, {took:.1f} s each")
    if write:
        write_section("Kills", section_of_kills(_rows(outcomes), kills, seed, well))
    sys.exit(well != kills)


if __name__ == "__main__":
    main()
