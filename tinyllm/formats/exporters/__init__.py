"""The export formats: what each needs and writes, how it is read back, how to run it.

A new format is an `Exporter` in a file of its own, with an entry in `EXPORTERS`.
"""

from tinyllm.formats.exporters.exporter import CARD, PARITY, Exporter, Source
from tinyllm.formats.exporters.gguf import Gguf
from tinyllm.formats.exporters.huggingface import HuggingFace
from tinyllm.formats.exporters.onnx import Onnx
from tinyllm.formats.exporters.playground import Playground
from tinyllm.formats.exporters.pyfunc import Pyfunc

__all__ = ["CARD", "EXPORTERS", "PARITY", "Exporter", "Source"]

# `export.formats` -> exporter
EXPORTERS: dict[str, Exporter] = {
    "huggingface": HuggingFace(),
    "onnx": Onnx(),
    "gguf": Gguf(),
    "pyfunc": Pyfunc(),
    "playground": Playground(),
}
