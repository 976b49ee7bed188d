"""Without the app, the stages write the same bytes, and read only what they declare."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.environments import read_checksums
from tests.project import clean_environment, copy_project

pytestmark = pytest.mark.slow

STAGES = ("prepare", "tokenize", "train", "evaluate", "export")
# runs a stage as `python -m` does, and records every file of the project that it opens
SPY = """
import json, os, runpy, sys
opened, here = set(), os.getcwd() + os.sep

def spy(event, arguments):
    if event == "open" and isinstance(arguments[0], str):
        path = os.path.abspath(arguments[0])
        if path.startswith(here) and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR):
            opened.add(path.removeprefix(here))

sys.addaudithook(spy)
sys.path.insert(0, "")
try:
    runpy.run_module("stages." + sys.argv.pop(1), run_name="__main__", alter_sys=True)
finally:
    read = sorted(opened)
    print("READ " + json.dumps(read), flush=True)
"""


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> tuple[Path, dict[str, list[str]]]:
    """A copy of the project without tinyllm/app after all stages, and what each has read."""
    folder = tmp_path_factory.mktemp("alone")
    copy_project(folder)
    shutil.rmtree(folder / "tinyllm" / "app")
    environment = clean_environment() | {"PYTHONDONTWRITEBYTECODE": "1"}
    read = {}
    for stage in STAGES:
        command = [sys.executable, "-c", SPY, stage]
        result = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, f"{stage}: {result.stdout}{result.stderr}"
        found = [line for line in result.stdout.splitlines() if line.startswith("READ ")]
        read[stage] = json.loads(found[-1].removeprefix("READ "))
    return folder, read


def test_every_out_has_the_same_bytes(alone, made_project):
    folder, _ = alone
    expected = read_checksums(made_project / "dvc.lock")
    assert len(expected) == 12
    different = []
    for out in expected:
        here, there = folder / out, made_project / out
        if here.is_dir():
            files = {p.relative_to(here) for p in here.rglob("*") if p.is_file()}
            assert files
            others = {p.relative_to(there) for p in there.rglob("*") if p.is_file()}
            different += [out] if files != others - {Path(".gitignore")} else []
            pairs = [(here / file, there / file) for file in files]
        else:
            pairs = [(here, there)]
        different += [out for a, b in pairs if a.read_bytes() != b.read_bytes()]
    assert not different


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_reads_only_what_it_declares(alone, stage):
    folder, read = alone
    definition = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]
    params = yaml.safe_load((ROOT / "tests/pipeline/reduced.yaml").read_text(encoding="utf-8"))
    deps = [
        dep.replace("${prepare.source}", params["prepare"]["source"]) for dep in definition["deps"]
    ]
    outs = [
        out if isinstance(out, str) else next(iter(out))
        for kind in ("outs", "metrics", "plots")
        for out in definition.get(kind, [])
    ]
    places = [Path(place) for place in (*deps, *outs, "params.yaml", ".tinyllm")]
    # temporary folders are gone by now, and compiled code is beside its source
    kept = [file for file in read[stage] if (folder / file).is_file()]
    foreign = [file for file in kept if not any(Path(file).is_relative_to(p) for p in places)]
    # and what git ignores in a folder of outs goes along when the folder is replaced
    assert not [f for f in foreign if "__pycache__" not in f and Path(f).name != ".gitignore"]
    code = [dep for dep in deps if dep.startswith("tinyllm/") and (ROOT / dep).is_dir()]
    assert all(any(Path(file).is_relative_to(dep) for file in read[stage]) for dep in code)
