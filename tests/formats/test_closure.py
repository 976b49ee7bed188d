"""The files that a module needs, from its imports."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tinyllm.formats import closure
from tinyllm.formats.closure import ROOT, import_closure

LOADED = """
import importlib, json, sys
importlib.import_module(sys.argv[1])
files = [module.__file__ for module in sys.modules.values() if getattr(module, "__file__", None)]
print(json.dumps(files))
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Writes a project with the given files, where closures are then found."""
    monkeypatch.setattr(closure, "ROOT", tmp_path)

    def write(files):
        for name, content in {"__init__": "", **files}.items():
            path = tmp_path / "tinyllm" / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")

    return write


def names(*modules):
    """The closure as text."""
    return [path.as_posix() for path in import_closure(*modules)]


def test_the_prepare_stage_needs_cleaning_and_not_the_transformer():
    found = names("stages.prepare")
    assert "stages/prepare.py" in found
    assert "tinyllm/base/command.py" in found
    assert "tinyllm/corpus/clean.py" in found
    assert "tinyllm/corpus/__init__.py" in found
    assert "tinyllm/model/transformer.py" not in found


def test_the_train_stage_needs_the_transformer_and_not_cleaning():
    found = names("stages.train")
    assert "tinyllm/model/transformer.py" in found
    assert "tinyllm/corpus/clean.py" not in found


def test_imports_inside_functions_of_a_command_count():
    found = names("tinyllm.app.commands.generate")
    assert "tinyllm/formats/load.py" in found


def test_the_closure_is_sorted_relative_and_holds_every_file_once():
    found = import_closure("stages.export", "stages.export", "stages.train")
    assert found == sorted(set(found))
    assert all((ROOT / path).is_file() and not path.is_absolute() for path in found)


@pytest.mark.parametrize("module", ["stages.prepare", "stages.tokenize"])
def test_every_file_that_python_loads_is_in_the_closure(module):
    result = subprocess.run(
        [sys.executable, "-c", LOADED, module],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    own = [ROOT / "tinyllm", ROOT / "stages"]
    loaded = [Path(file) for file in json.loads(result.stdout)]
    loaded = {path for path in loaded if any(path.is_relative_to(folder) for folder in own)}
    assert len(loaded) > 5
    assert loaded <= {ROOT / path for path in import_closure(module)}


@pytest.mark.parametrize(
    "name",
    ["tinyllm.none", "stages.none", "numpy", "os", "tinyllm.base.files.none", "tests.conftest"],
)
def test_a_module_that_is_not_in_the_project_is_refused(name):
    with pytest.raises(ModuleNotFoundError, match=f"'{name}'"):
        import_closure("tinyllm.base.files", name)


def test_no_modules_need_no_files():
    assert import_closure() == []


@pytest.mark.parametrize(
    "code",
    [
        "import tinyllm.b",
        "import os, tinyllm.b as other",
        "from tinyllm import b",
        "from tinyllm.b import something",
        "def function():\n    import tinyllm.b",
        "def function():\n    from tinyllm import b",
        "class C:\n    def m(self):\n        if True:\n            from tinyllm.b import x",
        "async def function():\n    from tinyllm.b import x",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from tinyllm.b import x",
        "try:\n    import tinyllm.b\nexcept ImportError:\n    pass",
    ],
)
def test_an_import_counts_wherever_it_is(project, code):
    project({"a": code, "b": ""})
    assert names("tinyllm.a") == ["tinyllm/__init__.py", "tinyllm/a.py", "tinyllm/b.py"]


@pytest.mark.parametrize(
    "code", ["import numpy", "from os import path", "x = 'import tinyllm.b'", "# import tinyllm.b"]
)
def test_what_is_not_an_import_of_the_project_does_not_count(project, code):
    project({"a": code, "b": ""})
    assert names("tinyllm.a") == ["tinyllm/__init__.py", "tinyllm/a.py"]


def test_imports_are_followed_through_packages_and_cycles(project):
    project(
        {
            "a": "from tinyllm.deep import b",
            "c": "",
            "deep/__init__": "import tinyllm.c",
            "deep/b": "import tinyllm.a",
            "deep/other": "",
            "unused": "",
        }
    )
    needed = ("__init__", "a", "c", "deep/__init__", "deep/b")
    assert names("tinyllm.a") == [f"tinyllm/{name}.py" for name in needed]
