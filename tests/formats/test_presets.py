"""The shape of each preset in every format, as the pipeline writes it for the sample."""

import pytest

from tests.conftest import ROOT
from tests.playground import random_checkpoint
from tinyllm.app.params import load_params
from tinyllm.formats.exporters import Source
from tinyllm.formats.run import export_checkpoint
from tinyllm.tokens.characters import CharacterTokenizer

PRESETS = sorted((ROOT / "presets").glob("*.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_export_of_a_preset_agrees_with_its_model(path, text, tmp_path):
    """With small random weights; the export fails if logits in float32 differ."""
    sections = load_params(path)
    shape = sections["model"].model_dump()
    checkpoint = random_checkpoint(CharacterTokenizer(text), scale=0.05, **shape)
    tokens = checkpoint.tokenizer.encode(text[: shape["sequence_length"]]).tolist()
    verdicts = export_checkpoint(sections["export"], Source(checkpoint, tokens), tmp_path / "out")
    assert {verdict.export.split("/")[0] for verdict in verdicts} >= {"huggingface", "onnx", "gguf"}
