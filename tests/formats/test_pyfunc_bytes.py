"""The bytes of an MLflow export: the same each time, wherever it is written."""

import json
import re
from pathlib import Path

import pytest
import yaml

from tinyllm.formats.config import ExportConfig
from tinyllm.formats.pyfunc import _public_version
from tinyllm.formats.run import export_checkpoint

pytestmark = pytest.mark.medium

CONFIG = ExportConfig(formats=["huggingface", "pyfunc"])


@pytest.fixture(scope="module")
def exports(export_source, tmp_path_factory):
    """The same checkpoint exported into three folders, one much deeper."""
    folder = tmp_path_factory.mktemp("bytes")
    deep = tmp_path_factory.mktemp("another") / "folder with a space" / "far" / "below"
    deep.mkdir(parents=True)
    places = [folder / "first", folder / "second", deep / "export"]
    for place in places:
        export_checkpoint(CONFIG, export_source, place)
    return places


def contents(folder):
    """Every file below a folder by its relative path, without compiled code."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    }


def strings(value):
    """All text keys and values of a description."""
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in strings(part)]
    if isinstance(value, list):
        return [text for part in value for text in strings(part)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("other", [1, 2])
def test_two_exports_of_a_checkpoint_are_the_same_bytes(exports, other):
    first, second = contents(exports[0]), contents(exports[other])
    assert {"huggingface/model.safetensors", "pyfunc/MLmodel"} <= first.keys()
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_an_export_over_another_one_is_the_same_bytes(exports, export_source):
    first = contents(exports[0])
    export_checkpoint(CONFIG, export_source, exports[0])
    assert contents(exports[0]) == first


def test_the_description_holds_no_absolute_path(exports):
    for place in exports:
        description = yaml.safe_load((place / "pyfunc" / "MLmodel").read_text())
        texts = strings(description)
        assert "artifacts/huggingface" in texts
        assert [text for text in texts if Path(text).is_absolute() or "file:" in text] == []


def test_no_file_names_the_folder_that_it_was_written_in(exports, tmp_path):
    for name, data in contents(exports[2]).items():
        assert b"folder with a space" not in data, name
        assert str(tmp_path.parent.parent).encode() not in data, name


def test_an_export_holds_no_compiled_code(export_source, tmp_path):
    export_checkpoint(CONFIG, export_source, tmp_path / "export")
    assert list(tmp_path.rglob("__pycache__")) == []


def test_the_example_is_beside_the_model(exports):
    folder = exports[0] / "pyfunc"
    description = yaml.safe_load((folder / "MLmodel").read_text())
    example = folder / description["saved_input_example_info"]["artifact_path"]
    assert json.loads(example.read_text())


@pytest.mark.parametrize("name", ["requirements.txt", "conda.yaml", "python_env.yaml"])
def test_no_requirement_has_a_local_version(exports, name):
    text = (exports[0] / "pyfunc" / name).read_text()
    assert "+" not in text
    assert name == "python_env.yaml" or re.search(
        r"onnxruntime==\d+\.\d+\.\d+$", text, re.MULTILINE
    )


@pytest.mark.parametrize(
    ("version", "public"), [("2.5.1+cpu", "2.5.1"), ("1.0rc1", "1.0rc1"), ("3+a.b+c", "3")]
)
def test_a_version_is_that_of_the_package_index(tmp_path, monkeypatch, version, public):
    folder = tmp_path / f"duke-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: duke\nVersion: {version}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert _public_version("duke") == public
