"""Run the pipeline in many surroundings and see that every out has the same bytes.

    python -m tests.environments             the reduced pipeline, and a table
    python -m tests.environments --sample    the committed parameters, against the committed lock
    python -m tests.environments "one core"  some of them

What differs between them must not matter: cores, threads, the width of vectors, hash seed, locale,
time zone, user, folder, logging, progress bar, tracking, checkpoint interval.
"""

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import ROOT
from tests.project import clean_environment, copy_project
from tinyllm.kernels.numerics import ONEDNN_LIMIT

_NOBODY = 65534


@dataclass(frozen=True)
class Surrounding:
    """What is different: a prefix of the command, the environment, parameters, the folder."""

    prefix: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    params: dict[str, dict[str, Any]] = field(default_factory=dict)
    folder: str = "project"
    user: int | None = None


SURROUNDINGS = {
    "as it comes": Surrounding(),
    "one core": Surrounding(prefix=("taskset", "-c", "0")),
    "two cores": Surrounding(prefix=("taskset", "-c", "0,1")),
    "one thread": Surrounding(params={"numerics": {"threads": 1}}),
    "four threads": Surrounding(params={"numerics": {"threads": 4}}),
    "narrow vectors": Surrounding(environment={ONEDNN_LIMIT: "AVX2"}),
    "hash seed 1": Surrounding(environment={"PYTHONHASHSEED": "1"}),
    "hash seed 2": Surrounding(environment={"PYTHONHASHSEED": "2"}),
    "locale C": Surrounding(environment={"LC_ALL": "C", "PYTHONUTF8": "0"}),
    "locale tr_TR": Surrounding(environment={"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8"}),
    "time zone": Surrounding(environment={"TZ": "Asia/Kolkata"}),
    "folder": Surrounding(folder="a folder, far/below \N{LATIN SMALL LETTER U WITH DIAERESIS}ber"),
    "another user": Surrounding(user=_NOBODY),
    "every step logged": Surrounding(params={"display": {"log_interval": 1}}),
    "progress bar": Surrounding(params={"display": {"progress": True}}),
    "no tracking": Surrounding(params={"tracking": {"tracking": False}}),
    "checkpoints": Surrounding(params={"runtime": {"checkpoint_interval": 0.2}}),
}


def run_pipeline(place: Path, surrounding: Surrounding, *, sample: bool) -> dict[str, str]:
    """Run the pipeline of a fresh copy and return the checksums of its outs."""
    project = place / surrounding.folder
    project.mkdir(parents=True)
    copy_project(project)
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8")) if sample else {}
    params = params or yaml.safe_load((project / "params.yaml").read_text(encoding="utf-8"))
    for section, values in surrounding.params.items():
        params[section] = {**(params.get(section) or {}), **values}
    (project / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    environment = clean_environment() | surrounding.environment
    prefix = list(surrounding.prefix)
    if surrounding.user is not None:
        give_to(surrounding.user, place)
        environment["HOME"] = str(place)
        # who may still read this Python, which often lies in somebody's home
        may = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
        prefix += ["setpriv", f"--reuid={surrounding.user}", "--clear-groups", *may]
    command = [*prefix, "dvc", "repro", "--force", "--no-run-cache"]
    result = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    if result.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{result.stdout}{result.stderr}")
    return read_checksums(project / "dvc.lock")


def read_checksums(lock: Path) -> dict[str, str]:
    """The outs that a lock names, and their checksums."""
    stages = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"].values()
    return {out["path"]: out["md5"] for stage in stages for out in stage["outs"]}


def give_to(user: int, folder: Path) -> None:
    """Make a folder and all in it another user's."""
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, user, user, follow_symlinks=False)


def main(*, sample: bool, names: list[str]) -> int:
    """Run every surrounding and print a table."""
    expected = read_checksums(ROOT / "dvc.lock") if sample else {}
    same = True
    chosen = names or list(SURROUNDINGS)
    for name in chosen:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            found = run_pipeline(Path(folder), SURROUNDINGS[name], sample=sample)
        expected = expected or found
        different = sorted(out for out in expected | found if expected.get(out) != found.get(out))
        same = same and not different
        verdict = f"DIFFERENT: {', '.join(different)}" if different else "same bytes"
        print(f"{name:20} {len(found)} outs  {verdict}", flush=True)
    return 0 if same else 1


if __name__ == "__main__":
    arguments = [argument for argument in sys.argv[1:] if argument != "--sample"]
    sys.exit(main(sample="--sample" in sys.argv, names=arguments))
