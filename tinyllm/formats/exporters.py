"""The forms a model is written in: what each needs, writes, and how it is opened and used.

A new form is a class of this shape and an entry in `EXPORTERS`.
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
    """What is exported, and what is known of it.

    `held_out` are tokens of a split that the model was not trained on; `metrics` is the report of
    the evaluate stage on it.
    """

    checkpoint: Checkpoint
    held_out: list[int]
    metrics: dict[str, Any] = field(default_factory=dict)


class Exporter(Protocol):
    """One form of the model."""

    @property
    def packages(self) -> tuple[str, ...]:
        """What has to be installed to write it."""

    @property
    def files(self) -> tuple[str, ...]:
        """Patterns of everything that it writes, or once wrote, in the export folder."""

    def write(self, config: ExportConfig, source: Source, folder: Path) -> None:
        """Write the form into the export folder.

        Raises:
            TinyLLMError: the model has no such form.
        """

    def read_back(self, config: ExportConfig, source: Source, folder: Path) -> Iterator[Opened]:
        """Open what was written in each program that `config.verify_with` names.

        Raises:
            TinyLLMError: something else than the model was written.
        """


class HuggingFace:
    """A Qwen3 model and a fast tokenizer, without code of ours."""

    packages: tuple[str, ...] = ()
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
    """One graph for prompt and continuation."""

    packages = ("onnx",)
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
    """llama.cpp's files, one for each precision."""

    packages = ("gguf",)
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
            # each weight must be what the precision makes of the model's
            verify_gguf(source.checkpoint, path, precision, passage)
            again = read_model(path, source.checkpoint)
            yield Opened(name, "read-back", precision, again.reader())
            if "llama.cpp" in config.verify_with:
                from tinyllm.formats.llama import LlamaRuntime  # noqa: PLC0415 - optional

                # llama.cpp's attention does not slide for this architecture
                fits = min(GREEDY_CHARACTERS, window - PROMPT)
                yield Opened(name, "llama.cpp", precision, LlamaRuntime(path), fits)


# modules that served models of earlier versions carry along, by their names then
_EARLIER_CODE = (
    *(f"config/{name}.py" for name in ("__init__", "base", "sampling")),
    *(f"{name}.py" for name in ("errors", "files", "logger", "redaction")),
    *(f"export/{name}.py" for name in ("__init__", "pyfunc_model")),
    *(f"inference/{name}.py" for name in ("__init__", "generate", "onnx", "sampling")),
    *(f"tokenization/{name}.py" for name in ("__init__", "huggingface", "tokenizer")),
)


class Pyfunc:
    """An MLflow model, which the registry takes; it carries the ONNX and the Hugging Face form."""

    packages = ("mlflow", "onnx", "onnxruntime")
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
            # Python compiles the code where somebody opens the model
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

    packages: tuple[str, ...] = ()
    files = (PLAYGROUND,)

    def write(self, config: ExportConfig, source: Source, folder: Path) -> None:  # noqa: ARG002 - Exporter's
        """See `Exporter`."""
        write_playground(source.checkpoint, folder / PLAYGROUND, "")

    def read_back(self, config: ExportConfig, source: Source, folder: Path) -> Iterator[Opened]:  # noqa: ARG002 - Exporter's
        """Nothing: only a browser opens it."""
        yield from ()


# `export.formats` -> the form
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
