"""dvc.yaml names everything that a stage depends on, and nothing that it does not."""

import importlib
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tinyllm.app.params import SECTIONS
from tinyllm.formats.closure import import_closure

STAGES = ("prepare", "tokenize", "train", "evaluate", "export")
# what a stage copies into its outs belongs to its code as well
TRAVELS_ALONG = {"export": ("tinyllm.formats.pyfunc_model",)}
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))


def code_of(stage: str) -> set[Path]:
    """The Python files that decide what a stage writes."""
    return set(import_closure(f"stages.{stage}", *TRAVELS_ALONG.get(stage, ())))


def code_deps(stage: str) -> set[Path]:
    """The Python files among a stage's dependencies, folders opened."""
    deps = [ROOT / dep for dep in PIPELINE["stages"][stage]["deps"] if "$" not in dep]
    files = {file for dep in deps for file in (dep.rglob("*.py") if dep.is_dir() else [dep])}
    return {file.relative_to(ROOT) for file in files if file.suffix == ".py"}


def test_the_pipeline_has_the_five_stages_in_order():
    assert tuple(PIPELINE["stages"]) == STAGES


@pytest.mark.parametrize("stage", STAGES)
def test_every_module_a_stage_imports_is_a_dependency(stage):
    missing = code_of(stage) - code_deps(stage)
    assert not missing, f"dvc.yaml, stage {stage}: add {sorted(map(str, missing))}"


@pytest.mark.parametrize("stage", STAGES)
def test_no_module_is_a_dependency_that_the_stage_does_not_import(stage):
    spare = code_deps(stage) - code_of(stage)
    assert not spare, f"dvc.yaml, stage {stage}: remove {sorted(map(str, spare))}"


def test_the_parts_of_the_playground_are_a_dependency_of_the_export():
    deps = [ROOT / dep for dep in PIPELINE["stages"]["export"]["deps"]]
    parts = list((ROOT / "tinyllm/export/page").iterdir())
    assert len(parts) >= 4
    assert all(any(part.is_relative_to(dep) for dep in deps) for part in parts)


@pytest.mark.parametrize("stage", STAGES)
def test_every_section_that_changes_outputs_is_a_parameter_dependency(stage):
    sections = importlib.import_module(f"stages.{stage}").SECTIONS
    watched = {name for name in sections if SECTIONS[name].affects_outputs}
    assert set(PIPELINE["stages"][stage]["params"]) == watched


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_gives_its_command_the_sections_that_it_takes(stage):
    module = importlib.import_module(f"stages.{stage}")
    command = getattr(module, stage)
    fields = {field for name in module.SECTIONS for field in SECTIONS[name].model_fields}
    options = {parameter.name for parameter in command.params}
    paths = {flag[2:] for flag in module.PATHS}
    assert options == fields | paths


@pytest.mark.parametrize("stage", STAGES)
def test_the_paths_a_stage_works_on_are_its_deps_and_outs(stage):
    definition = PIPELINE["stages"][stage]
    named = list(definition["deps"])
    for kind in ("outs", "metrics", "plots"):
        entries = definition.get(kind, [])
        named += [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]
    for path in importlib.import_module(f"stages.{stage}").PATHS.values():
        assert any(name == path or name.startswith(f"{path}/") for name in named), path


def test_tiny_shakespeare_is_imported_by_its_checksum():
    text = (ROOT / "data/raw/tinyshakespeare.txt.dvc").read_text(encoding="utf-8")
    imported = yaml.safe_load(text)
    out = imported["outs"][0]
    assert out["md5"] == "6fb458f1232090904fb40fe944165e91"
    assert out["size"] == 1_115_394
    assert imported["frozen"] is True
    assert imported["deps"][0]["path"].endswith("char-rnn/master/data/tinyshakespeare/input.txt")
