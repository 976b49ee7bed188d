"""Runs the targets, each in a process of its own; see the package."""

import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from tests.campaign.fuzz.keep import keep_interesting
from tests.campaign.fuzz.target import CORPUS, ROOT, Target, all_targets
from tests.campaign.fuzz.worker import place_of, settle
from tests.campaign.page import section_of_fuzz, write_section

LONGEST, MEGABYTES = 10, 2048
_FEWEST = 20_000
_TRIES = 5
_ENDS = {70: "it hung", 71: "too much memory"}


@dataclass
class Outcome:
    """What became of a target; `faults` maps each to how often it was seen, and its input."""

    name: str
    done: int = 0
    seconds: float = 0.0
    coverage: int = 0
    faults: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __str__(self) -> str:
        rate = self.done / self.seconds if self.seconds else 0.0
        found = f"{len(self.faults)} faults" if self.faults else "no fault"
        ran = f"{self.done:>9,} executions {rate:>8,.0f}/s"
        return f"{self.name:22} {ran} {self.coverage:>5} places  {found}"

    @property
    def row(self) -> tuple[str, ...]:
        """The outcome as a row of the page."""
        return f"`{self.name}`", f"{self.done:,}", f"{self.coverage:,}", str(len(self.faults))


@click.command()
@click.argument("names", nargs=-1)
@click.option(
    "--executions",
    type=click.IntRange(1),
    default=100_000,
    show_default=True,
    help="Of all targets together.",
)
@click.option("--jobs", type=click.IntRange(1), default=2, show_default=True)
@click.option("--keep", is_flag=True, help="Keep new inputs that reach new lines in corpus/.")
@click.option("--replay", is_flag=True, help="Run the inputs that are kept, and nothing else.")
@click.option("--write", is_flag=True, help="Write the section of docs/reliability.md.")
def main(names: tuple[str, ...], executions: int, jobs: int, keep: bool, replay: bool,
         write: bool) -> None:  # fmt: skip
    """Give hostile bytes to the targets NAMES, by default to all of them."""
    known = all_targets()
    if unknown := [name for name in names if name not in known]:
        raise click.UsageError(f"no target is called {', '.join(unknown)}")
    chosen = [known[name] for name in names] or list(known.values())
    if replay:
        sys.exit(replay_kept(chosen))
    if importlib.util.find_spec("atheris") is None:
        raise click.ClickException(
            "This needs Atheris, which is not among the locked packages; install it with: "
            "pip install atheris."
        )
    shares = divide(chosen, executions)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, ThreadPoolExecutor(jobs) as pool:

        def search(target: Target) -> Outcome:
            place = Path(folder) / target.name
            outcome = run_target(target, shares[target.name], place)
            click.echo(str(outcome))
            return outcome

        outcomes = list(pool.map(search, sorted(chosen, key=lambda one: one.share)))
        for outcome in outcomes:
            tell_faults(outcome)
        if keep:
            settle()
            for target in chosen:
                keep_interesting(target, Path(folder) / target.name / "corpus")
    total = sum(outcome.done for outcome in outcomes)
    faults = sum(len(outcome.faults) for outcome in outcomes)
    click.echo(f"{total:,} executions of {len(outcomes)} targets, {faults} faults")
    if write:
        rows = [outcome.row for outcome in sorted(outcomes, key=lambda one: one.name)]
        write_section("Hostile bytes", section_of_fuzz(rows, executions, total, faults))
    sys.exit(bool(faults))


def divide(targets: list[Target], executions: int) -> dict[str, int]:
    """How many executions each target gets: by its share, but none very few of a million."""
    whole = sum(target.share for target in targets)
    fewest = min(_FEWEST, executions // 50)
    return {
        one.name: max(int(executions * one.share / whole), fewest if one.share >= 0.5 else 1)
        for one in targets
    }


def run_target(target: Target, executions: int, place: Path) -> Outcome:
    """Search one target, again after an input that ended its process."""
    corpus = place / "corpus"
    corpus.mkdir(parents=True)
    for name, data in target.inputs().items():
        (corpus / name.replace(" ", "-")).write_bytes(data)
    words = place / "words"
    words.write_text("".join(f"{_quoted(word)}\n" for word in target.words), encoding="ascii")
    outcome = Outcome(target.name)
    for number in range(_TRIES):
        if outcome.done >= executions:
            break
        report = place / f"report-{number}.json"
        command = [sys.executable, "-m", "tests.campaign.fuzz.worker", target.name]
        command += [str(executions - outcome.done), str(corpus), str(report)]
        command += [f"-timeout={LONGEST}", f"-rss_limit_mb={MEGABYTES}"]
        command += [f"-max_len={target.longest}", f"-artifact_prefix={place}/"]
        command += [f"-dict={words}"] if target.words else []
        command += ["-reload=0"]
        log = place / f"log-{number}"
        with log.open("wb") as output:
            code = subprocess.run(
                command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, check=False
            ).returncode
        _add(outcome, report, log, code)
    return outcome


def _add(outcome: Outcome, report: Path, log: Path, code: int) -> None:
    text = log.read_text(encoding="utf-8", errors="replace")
    if report.exists():
        found = json.loads(report.read_text(encoding="utf-8"))
        outcome.done += found["done"]
        outcome.seconds += found["seconds"]
        outcome.faults |= found["faults"]
    reached = [int(number) for number in re.findall(r"\bcov: (\d+)", text)]
    outcome.coverage = max([outcome.coverage, *reached])
    if code:
        # libFuzzer's own codes; anything else is the end of the process itself
        why = _ENDS.get(code, f"the process ended with code {code}")
        wrote = re.findall(r"Test unit written to (\S+)", text)
        last = {"count": 1, "text": "" if wrote else text[-1500:]}
        outcome.faults[why] = last | ({"file": wrote[-1]} if wrote else {})


def tell_faults(outcome: Outcome) -> None:
    """Print each fault with its input."""
    for fault, known in outcome.faults.items():
        click.echo(f"\n{outcome.name}: {fault}: {known['text']} ({known['count']} times)")
        if "file" in known:
            click.echo(f"    {Path(known['file']).read_bytes()!r}")


def replay_kept(targets: list[Target]) -> int:
    """Run seeds and kept inputs in this process; return how many are faults."""
    settle()
    faults = count = 0
    for target in targets:
        for name, data in target.inputs().items():
            count += 1
            if error := target.faults(data):
                faults += 1
                click.echo(f"{target.name}, {name}: {place_of(error)}: {error}")
    click.echo(f"{count} inputs of {len(targets)} targets in {CORPUS.name}/, {faults} faults")
    return int(faults > 0)


def _quoted(word: bytes) -> str:
    return '"' + "".join(f"\\x{byte:02x}" for byte in word) + '"'


if __name__ == "__main__":
    main()
