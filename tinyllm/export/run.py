"""Writing all the exports that are asked for into one folder, each verified before it appears."""

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import torch

from tinyllm.closure import import_closure
from tinyllm.config.export import ExportConfig, Precision
from tinyllm.export.card import write_card
from tinyllm.export.gguf import check_gguf, write_gguf
from tinyllm.export.gguf_reader import read_model, verify_gguf
from tinyllm.export.huggingface import write_huggingface
from tinyllm.export.parity import GREEDY_CHARACTERS, PROMPT, Verdict, compare
from tinyllm.export.playground import write_playground
from tinyllm.export.pyfunc import open_pyfunc, write_pyfunc
from tinyllm.export.requirements import what_is_possible
from tinyllm.files import write_json
from tinyllm.inference.generate import Reader
from tinyllm.models.checkpoint import Checkpoint
from tinyllm.outs import OutFolder
from tinyllm.replacing import new_directory

PARITY, CARD, PLAYGROUND = "parity.json", "README.md", "playground.html"
_HUGGINGFACE = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
)
# what the served model carries along; a module that is renamed stays here under its old name
_CODE = import_closure("tinyllm.export.pyfunc_model")
_ONNX = ("model.onnx", "tokenizer.json")
_PYFUNC = (
    "MLmodel",
    "conda.yaml",
    "input_example.json",
    "python_env.yaml",
    "pyfunc_model.py",
    "requirements.txt",
    "serving_input_example.json",
    PARITY,
    CARD,
    *(f"code/{path.as_posix()}" for path in _CODE),
    # Python compiles the code where somebody opens the model
    "__pycache__/*.pyc",
    *sorted({f"code/{path.parent.as_posix()}/__pycache__/*.pyc" for path in _CODE}),
    *(f"artifacts/huggingface/{name}" for name in _HUGGINGFACE),
    *(f"artifacts/onnx/{name}" for name in _ONNX),
)
EXPORT = OutFolder(
    writer="tinyllm export",
    files=(
        PARITY,
        CARD,
        PLAYGROUND,
        *(f"gguf/model-{precision}.gguf" for precision in get_args(Precision)),
        *(f"huggingface/{name}" for name in _HUGGINGFACE),
        *(f"onnx/{name}" for name in _ONNX),
        *(f"pyfunc/{name}" for name in _PYFUNC),
    ),
    mark=CARD,
    sign=b"# A character-level language model\n",
)


@dataclass(frozen=True)
class Source:
    """What is exported, and what is known of it.

    `held_out` are tokens of a split that the model was not trained on; `metrics` is the report of
    the evaluate stage on it.
    """

    checkpoint: Checkpoint
    held_out: list[int]
    metrics: dict[str, Any] = field(default_factory=dict)


def export_checkpoint(
    config: ExportConfig,
    source: Source,
    out: Path,
    report: Callable[[str], None] = lambda _: None,
) -> list[Verdict]:
    """Write each format, let the programs that open it agree with the model, describe it all.

    Args:
        config: which formats and programs.
        source: the model, and held-out text to compare on.
        out: the folder to write; one that this wrote before is replaced.
        report: told what is being done.

    Returns:
        The verdicts; `parity.json` holds them without the measured digits.

    Raises:
        ConfigError: the folder to write holds something else.
        TinyLLMError: a program is missing, the model cannot be written in a format, a float32
            export predicts otherwise than the model, the folder cannot be written to.
    """
    config = what_is_possible(config)
    if "gguf" in config.formats:
        check_gguf(source.checkpoint, config.gguf_precisions)
    with new_directory(out, EXPORT) as folder:
        for form in config.formats:
            report(f"writing {form}")
            _write(form, config, source, folder)
        verdicts = []
        with _one_thread():
            for verdict in verify(config, source, folder):
                report(f"compared {verdict.export} in {verdict.runtime}")
                verdicts.append(verdict)
        write_json(folder / PARITY, [verdict.facts() for verdict in verdicts])
        write_card(folder / CARD, config, source.checkpoint, source.metrics, verdicts)
        if "pyfunc" in config.formats:
            # what the registry holds shall tell of itself
            for name in (PARITY, CARD):
                shutil.copyfile(folder / name, folder / "pyfunc" / name)
    return verdicts


def verify(config: ExportConfig, source: Source, folder: Path) -> Iterator[Verdict]:
    """Compare every export in `folder` with the model, in the programs that the config names."""
    window = source.checkpoint.model.config.sequence_length
    passage = source.held_out[:window]

    def against(
        export: str, runtime: str, precision: str, reader: Reader, count: int = GREEDY_CHARACTERS
    ) -> Verdict:
        return compare(
            export,
            runtime,
            precision,
            open_native=source.checkpoint.reader,
            opened=reader,
            passage=passage,
            greedy_characters=count,
        )

    if "huggingface" in config.formats and "transformers" in config.verify_with:
        from tinyllm.export.transformers_reader import TransformersReader  # noqa: PLC0415 - optional

        reader = TransformersReader(folder / "huggingface")
        yield against("huggingface", "transformers", "f32", reader)
    if "onnx" in config.formats and "onnxruntime" in config.verify_with:
        from tinyllm.inference.onnx import load_onnx  # noqa: PLC0415 - optional

        yield against("onnx", "onnxruntime", "f32", load_onnx(folder / "onnx").reader())
    for precision in config.gguf_precisions if "gguf" in config.formats else ():
        path = folder / "gguf" / f"model-{precision}.gguf"
        name = f"gguf/{path.name}"
        # each weight must be what the precision makes of the model's
        verify_gguf(source.checkpoint, path, precision, torch.tensor([passage]))
        again = read_model(path, source.checkpoint)
        yield against(name, "read-back", precision, again.reader())
        if "llama.cpp" in config.verify_with:
            from tinyllm.export.llama import LlamaRuntime  # noqa: PLC0415 - optional

            # llama.cpp's attention does not slide for this architecture
            fits = min(GREEDY_CHARACTERS, window - PROMPT)
            yield against(name, "llama.cpp", precision, LlamaRuntime(path), fits)
    if "pyfunc" in config.formats:
        yield against("pyfunc", "mlflow", "f32", open_pyfunc(folder / "pyfunc"))


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Writing one character at a time, more threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _write(form: str, config: ExportConfig, source: Source, folder: Path) -> None:
    checkpoint = source.checkpoint
    if form == "playground":
        write_playground(checkpoint, folder / PLAYGROUND, "")
        return
    target = folder / form
    if form == "pyfunc":
        with tempfile.TemporaryDirectory() as staging:
            write_huggingface(checkpoint, _made(Path(staging) / "huggingface"))
            _write_onnx(checkpoint, _made(Path(staging) / "onnx"))
            write_pyfunc(checkpoint, Path(staging), target)
    elif form == "huggingface":
        write_huggingface(checkpoint, _made(target))
    elif form == "onnx":
        _write_onnx(checkpoint, _made(target))
    else:
        write_gguf(checkpoint, _made(target), config.gguf_precisions)


def _write_onnx(checkpoint: Checkpoint, folder: Path) -> None:
    from tinyllm.export.onnx_graph import write_onnx  # noqa: PLC0415 - onnx is optional

    write_onnx(checkpoint, folder)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
