"""Every format is one entry, named as in the section, and an unknown one is refused."""

from fnmatch import fnmatch
from typing import get_args

import pytest

from tinyllm.base.errors import ConfigError
from tinyllm.formats.config import ExportConfig, Format
from tinyllm.formats.exporters import EXPORTERS
from tinyllm.formats.run import EXPORT

pytestmark = pytest.mark.medium


def test_formats_and_exporters_are_the_same():
    assert tuple(EXPORTERS) == get_args(Format)


@pytest.mark.parametrize("formats", [["pickle"], ["onnx", "ONNX"], ["hugging face"], [""]])
def test_an_unknown_format_is_refused_in_one_sentence(formats):
    with pytest.raises(ConfigError) as caught:
        ExportConfig.parse({"formats": formats}, "params.yaml")
    message = str(caught.value)
    assert message.startswith(f"export.formats.{len(formats) - 1}: ")
    assert all(f"'{name}'" in message for name in EXPORTERS)
    assert message.endswith(f"got {formats[-1]!r} in params.yaml.")


@pytest.mark.parametrize("field", ["formats", "gguf_precisions", "verify_with", "languages"])
def test_a_name_that_stands_twice_is_refused(field):
    name = {"formats": "gguf", "gguf_precisions": "f16", "verify_with": "transformers"}
    twice = [name.get(field, "en")] * 2
    with pytest.raises(ConfigError, match=f"export.{field}: .*holds {twice[0]} twice"):
        ExportConfig.parse({field: twice}, "params.yaml")


def test_a_format_without_an_exporter_is_an_error(export_source, tmp_path):
    from tinyllm.formats.run import export_checkpoint

    unchecked = ExportConfig.model_construct(**ExportConfig().model_dump() | {"formats": ["new"]})
    with pytest.raises(KeyError, match="new"):
        export_checkpoint(unchecked, export_source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_exporters_write_only_the_files_that_they_declare(export_folder):
    written = {p.relative_to(export_folder) for p in export_folder.rglob("*") if p.is_file()}
    for path in written - {p for p in written if "__pycache__" in p.parts}:
        assert any(fnmatch(path.as_posix(), pattern) for pattern in EXPORT.files), path
    for name, form in EXPORTERS.items():
        assert any(fnmatch(p.as_posix(), f) for p in written for f in form.files), name
