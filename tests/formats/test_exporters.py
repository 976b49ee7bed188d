"""Every form is one entry, under the name that the section knows, and an unknown one is refused."""

from fnmatch import fnmatch
from typing import get_args

import pytest

from tinyllm.base.errors import ConfigError
from tinyllm.formats.config import ExportConfig, Format
from tinyllm.formats.exporters import EXPORTERS
from tinyllm.formats.run import EXPORT

pytestmark = pytest.mark.medium


def test_every_form_of_the_section_has_an_exporter_and_no_other():
    assert tuple(EXPORTERS) == get_args(Format)


@pytest.mark.parametrize("formats", [["pickle"], ["onnx", "ONNX"], ["hugging face"], [""]])
def test_an_unknown_form_is_refused_in_one_sentence(formats):
    with pytest.raises(ConfigError) as caught:
        ExportConfig.parse({"formats": formats}, "params.yaml")
    message = str(caught.value)
    assert message.startswith(f"export.formats.{len(formats) - 1}: ")
    assert all(f"'{name}'" in message for name in EXPORTERS)
    assert message.endswith(f"got {formats[-1]!r} in params.yaml.")


def test_a_form_that_nothing_writes_is_an_error_and_never_the_last_one(export_source, tmp_path):
    from tinyllm.formats.run import export_checkpoint

    unchecked = ExportConfig.model_construct(**ExportConfig().model_dump() | {"formats": ["new"]})
    with pytest.raises(KeyError, match="new"):
        export_checkpoint(unchecked, export_source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_all_that_is_written_is_what_an_exporter_says_that_it_writes(export_folder):
    written = {p.relative_to(export_folder) for p in export_folder.rglob("*") if p.is_file()}
    for path in written - {p for p in written if "__pycache__" in p.parts}:
        assert any(fnmatch(path.as_posix(), pattern) for pattern in EXPORT.files), path
    for name, form in EXPORTERS.items():
        assert any(fnmatch(p.as_posix(), f) for p in written for f in form.files), name
