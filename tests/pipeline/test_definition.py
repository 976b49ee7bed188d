"""dvc.yaml names everything that a stage depends on, and the core imports no observer."""

import ast
import importlib
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tinyllm.app.params import SECTIONS
from tinyllm.base.command import Command
from tinyllm.formats.closure import import_closure
from tinyllm.training import recipe

STAGES = ("prepare", "tokenize", "train", "evaluate", "export")
# what a stage copies into its outs is also its code
TRAVELS_ALONG = {"export": ("tinyllm.formats.pyfunc_model",)}
# package -> the packages that it may import
PACKAGES = {
    "base": set(),
    "corpus": {"base"},
    "tokens": {"base"},
    "model": {"base", "tokens"},
    "kernels": {"base", "model"},
    "training": {"base", "tokens", "model", "kernels"},
    "inference": {"base", "tokens", "model", "kernels"},
    "evaluation": {"base", "tokens", "model", "kernels", "inference"},
    "formats": {"base", "tokens", "model", "kernels", "inference"},
    "planning": {"base", "tokens", "model", "kernels", "training", "evaluation"},
}
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))


def code_of(stage: str) -> set[Path]:
    """The Python files that can change what a stage writes."""
    return set(import_closure(f"stages.{stage}", *TRAVELS_ALONG.get(stage, ())))


def code_deps(stage: str) -> list[Path]:
    """A stage's dependencies that are code."""
    return [Path(dep) for dep in PIPELINE["stages"][stage]["deps"] if dep.startswith(CODE)]


CODE = ("tinyllm/", "stages/")


def imported_by(path: Path) -> set[str]:
    """Names of all modules that a file imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_the_pipeline_has_the_five_stages_in_order():
    assert tuple(PIPELINE["stages"]) == STAGES


def test_the_definition_can_be_read_at_a_glance():
    assert len((ROOT / "dvc.yaml").read_text(encoding="utf-8").splitlines()) <= 120
    assert all(len(code_deps(stage)) <= 8 for stage in STAGES)


@pytest.mark.parametrize("stage", STAGES)
def test_every_module_a_stage_imports_is_in_a_dependency(stage):
    deps = code_deps(stage)
    missing = {file for file in code_of(stage) if not any(file.is_relative_to(dep) for dep in deps)}
    assert not missing, f"dvc.yaml, stage {stage}: add {sorted(map(str, missing))}"


@pytest.mark.parametrize("stage", STAGES)
def test_every_dependency_holds_a_module_of_the_stage(stage):
    code = code_of(stage)
    spare = [dep for dep in code_deps(stage) if not any(f.is_relative_to(dep) for f in code)]
    assert not spare, f"dvc.yaml, stage {stage}: remove {spare}"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_lower_ones(package):
    allowed = {f"tinyllm.{name}" for name in (package, *PACKAGES[package])} | {"tinyllm"}
    for file in (ROOT / "tinyllm" / package).glob("*.py"):
        ours = {name for name in imported_by(file) if name.partition(".")[0] == "tinyllm"}
        foreign = {name for name in ours if ".".join(name.split(".")[:2]) not in allowed}
        assert not foreign, f"{file.name} imports {sorted(foreign)}"


@pytest.mark.parametrize("package", PACKAGES)
def test_the_core_imports_neither_dvc_nor_mlflow(package):
    # only MLflow can write its model format
    may = {"pyfunc.py", "pyfunc_model.py"} if package == "formats" else set()
    for file in (ROOT / "tinyllm" / package).glob("*.py"):
        packages = {name.partition(".")[0] for name in imported_by(file)}
        assert file.name in may or not packages & {"dvc", "mlflow"}, file


def test_every_package_is_in_the_core_or_the_app():
    packages = {path.parent.name for path in (ROOT / "tinyllm").glob("*/__init__.py")}
    assert packages == {*PACKAGES, "app"}


def test_the_fingerprint_of_a_run_covers_the_code_that_train_depends_on():
    folders = {f"tinyllm/{package}" for package in recipe._CODE}
    deps = {str(dep) for dep in code_deps("train")}
    assert folders == deps - {"stages/train.py", "tinyllm/__init__.py"}


def test_the_playgrounds_page_is_a_dependency_of_the_export():
    parts = list((ROOT / "tinyllm/formats/page").iterdir())
    assert len(parts) >= 4
    deps = [ROOT / dep for dep in code_deps("export")]
    assert all(any(part.is_relative_to(dep) for dep in deps) for part in parts)


def command_of(stage: str) -> Command:
    """The click command that a stage's script calls."""
    return getattr(importlib.import_module(f"stages.{stage}"), stage)


@pytest.mark.parametrize("stage", STAGES)
def test_every_section_that_changes_outputs_is_a_parameter_dependency(stage):
    watched = {one.section for one in command_of(stage).sections if one.affects_outputs}
    assert set(PIPELINE["stages"][stage]["params"]) == watched


@pytest.mark.parametrize("stage", STAGES)
def test_a_command_takes_its_paths_and_its_sections(stage):
    command = command_of(stage)
    assert {SECTIONS[one.section] for one in command.sections} == set(command.sections)
    fields = {field for one in command.sections for field in one.model_fields}
    options = {parameter.name for parameter in command.params}
    paths = {flag[2:] for flag in importlib.import_module(f"stages.{stage}").PATHS}
    assert options == fields | paths | {"debug"}


@pytest.mark.parametrize("stage", STAGES)
def test_the_command_line_and_the_script_call_the_same_command(stage):
    from tinyllm.app.cli import main

    context = None
    assert main.get_command(context, stage) is command_of(stage)


@pytest.mark.parametrize("stage", STAGES)
def test_the_paths_a_stage_works_on_are_its_deps_and_outs(stage):
    definition = PIPELINE["stages"][stage]
    named = list(definition["deps"])
    for kind in ("outs", "metrics", "plots"):
        entries = definition.get(kind, [])
        named += [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]
    for path in importlib.import_module(f"stages.{stage}").PATHS.values():
        assert any(name == path or name.startswith(f"{path}/") for name in named), path
