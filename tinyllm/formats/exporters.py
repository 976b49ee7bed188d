"""The export formats: what each needs and writes, and how it is read back.

A new format is an `Exporter` with an entry in `EXPORTERS`.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, get_args

import torch

from tinyllm.formats.closure import import_closure
from tinyllm.formats.config import ExportConfig, Precision
from tinyllm.formats.gguf import write_gguf
from tinyllm.formats.gguf_reader import read_model, verify_gguf
from tinyllm.formats.huggingface import write_huggingface
from tinyllm.formats.parity import GREEDY_CHARACTERS, PROMPT, Opened
from tinyllm.formats.playground import write_playground
from tinyllm.formats.pyfunc import open_pyfunc, write_pyfunc
from tinyllm.inference.checkpoint import Checkpoint

PARITY, CARD, PLAYGROUND = "parity.json", "README.md", "playground.html"


@dataclass(frozen=True)
class Source:
    """The model to export, tokens of a held-out split, and its metrics on that split."""

    checkpoint: Checkpoint
    held_out: list[int]
    metrics: dict[str, Any] = field(default_factory=dict)


class Exporter(Protocol):
    """One export format."""

    @property
    def files(self) -> tuple[str, ...]:
        """Patterns of everything that it writes, or once wrote, in the export folder."""

    def write(self, config: ExportConfig, source: Source, folder: Path) -> None:
        """Write the format into the export folder.

        Raises:
            TinyLLMError: the model cannot be written in it.
        """

    def read_back(self, config: ExportConfig, source: Source, folder: Path) -> Iterator[Opened]:
        """Open the export in each program of `config.verify_with` that reads it.

        Raises:
            TinyLLMError: the export differs from the model.
        """


class HuggingFace:
    """A Qwen3 model and a fast tokenizer, without code of ours."""

    names = (
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    )
    files = tuple(f"huggingface/{name}" for name in names)

    def write(self, config: ExportConfig, source: Source, folder: Path) -> None:  # noqa: ARG002 - Exporter's
        """See `Exporter`."""
        write_huggingface(source.checkpoint, _made(folder / "huggingface"))

    def read_back(self, config: ExportConfig, source: Source, folder: Path) -> Iterator[Opened]:  # noqa: ARG002 - Exporter's
        """See `Exporter`."""
        if "transformers" in config.verify_with:
            from tinyllm.formats.transformers_reader import TransformersReader  # noqa: PLC0415 - optional

            reader = TransformersReader(folder / "huggingface")
            yield Opened("huggingface", "transformers", "f32", reader)


class Onnx:
    """One graph for prompts and continuations."""

    names = ("model.onnx", "tokenizer.json")
    files = tuple(f"onnx/{name}" for name in names)

    def write(self, config: ExportConfig, source: Source, folder: Path) -> None:  # noqa: ARG002 - Exporter's
        """See `Exporter`."""
        from tinyllm.formats.onnx_graph import write_onnx  # noqa: PLC0415 - onnx is optional

        write_onnx(source.checkpoint, _made(folder / "onnx"))

    def read_back(self, config: ExportConfig, source: Source, folder: Path) -> Iterator[Opened]:  # noqa: ARG002 - Exporter's
        """See `Exporter`."""
        if "onnxruntime" in config.verify_with:
            from tinyllm.formats.onnx_model import load_onnx  # noqa: PLC0415 - optional

            yield Opened("onnx", "onnxruntime", "f32", load_onnx(folder / "onnx").reader())


class Gguf:
    """A llama.cpp file for each precision."""

    files = tuple(f"gguf/model-{precision}.gguf" for precision in get_args(Precision))

    def write(self, config: ExportConfig, source: Source, folder: Path) -> None:
        """See `Exporter`."""
        write_gguf(source.checkpoint, _made(folder / "gguf"), config.gguf_precisions)

    def read_back(self, config: ExportConfig, source: Source, folder: Path) -> Iterator[Opened]:
        """See `Exporter`."""
        window = source.checkpoint.model.config.sequence_length
        passage = torch.tensor([source.held_out[:window]])
        for precision in config.gguf_precisions:
            path = folder / "gguf" / f"model-{precision}.gguf"
            name = f"gguf/{path.name}"
            # each weight must be the model's, rounded to the precision
            verify_gguf(source.checkpoint, path, precision, passage)
            again = read_model(path, source.checkpoint)
            yield Opened(name, "read-back", precision, again.reader())
            if "llama.cpp" in config.verify_with:
                from tinyllm.formats.llama import LlamaRuntime  # noqa: PLC0415 - optional

                # llama.cpp's attention does not slide for this architecture
                fits = min(GREEDY_CHARACTERS, window - PROMPT)
                yield Opened(name, "llama.cpp", precision, LlamaRuntime(path), fits)


# modules that models served by earlier versions include
_EARLIER_CODE = (
    *(f"config/{name}.py" for name in ("__init__", "base", "sampling")),
    *(f"{name}.py" for name in ("errors", "files", "logger", "redaction")),
    *(f"export/{name}.py" for name in ("__init__", "pyfunc_model")),
    *(f"inference/{name}.py" for name in ("__init__", "generate", "onnx", "sampling")),
    *(f"tokenization/{name}.py" for name in ("__init__", "huggingface", "tokenizer")),
)


class Pyfunc:
    """An MLflow model for the registry; it includes the ONNX and Hugging Face formats."""

    _code = (
        *(path.as_posix() for path in import_closure("tinyllm.formats.pyfunc_model")),
        *(f"tinyllm/{path}" for path in _EARLIER_CODE),
    )
    _folders = frozenset(path.rpartition("/")[0] for path in _code)
    _names = (
        "MLmodel",
        "conda.yaml",
        "input_example.json",
        "python_env.yaml",
        "pyfunc_model.py",
        "requirements.txt",
        "serving_input_example.json",
        PARITY,
        CARD,
    )
    files = tuple(
        f"pyfunc/{name}"
        for name in (
            *_names,
            *[f"code/{path}" for path in _code],
            # Python compiles the code when somebody opens the model
            "__pycache__/*.pyc",
            *[f"code/{path}/__pycache__/*.pyc" for path in sorted(_folders)],
            *[f"artifacts/{path}" for path in (*HuggingFace.files, *Onnx.files)],
        )
    )

    def write(self, config: ExportConfig, source: Source, folder: Path) -> None:
        """See `Exporter`."""
        with tempfile.TemporaryDirectory() as staging:
            for form in (HuggingFace(), Onnx()):
                form.write(config, source, Path(staging))
            write_pyfunc(source.checkpoint, Path(staging), folder / "pyfunc")

    def read_back(self, config: ExportConfig, source: Source, folder: Path) -> Iterator[Opened]:  # noqa: ARG002 - Exporter's
        """See `Exporter`."""
        yield Opened("pyfunc", "mlflow", "f32", open_pyfunc(folder / "pyfunc"))


class Playground:
    """A page that runs the model in a browser."""

    files = (PLAYGROUND,)

    def write(self, config: ExportConfig, source: Source, folder: Path) -> None:  # noqa: ARG002 - Exporter's
        """See `Exporter`."""
        write_playground(source.checkpoint, folder / PLAYGROUND, "")

    def read_back(self, config: ExportConfig, source: Source, folder: Path) -> Iterator[Opened]:  # noqa: ARG002 - Exporter's
        """Yield nothing: only a browser opens it."""
        yield from ()


# `export.formats` -> exporter
EXPORTERS: dict[str, Exporter] = {
    "huggingface": HuggingFace(),
    "onnx": Onnx(),
    "gguf": Gguf(),
    "pyfunc": Pyfunc(),
    "playground": Playground(),
}


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
