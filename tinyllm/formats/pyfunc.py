"""The model as an MLflow model from code: no pickle, and a copy of the code it needs."""

import contextlib
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from tinyllm.base.files import write_text
from tinyllm.formats.closure import ROOT, import_closure
from tinyllm.formats.wording import example_prompt
from tinyllm.inference.checkpoint import Checkpoint
from tinyllm.inference.config import SamplingConfig
from tinyllm.inference.generate import Reader
from tinyllm.inference.request import ServeConfig
from tinyllm.tokens.byte_pairs import BytePairTokenizer

_REQUIREMENTS = ("mlflow", "numpy", "onnxruntime", "pandas", "pydantic")
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
# MLflow sends telemetry and prints every step unless told not to
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
# MLflow records when and under which name it made a model, which belongs in the registry only
_PASSING_FACTS = ("utc_time_created", "model_uuid", "model_id", "model_size_bytes", "run_id")


def write_pyfunc(checkpoint: Checkpoint, forms: Path, folder: Path) -> None:
    """Write an MLflow model that serves the ONNX graph of the Hugging Face folder in it.

    Args:
        checkpoint: its tokenizer gives the example prompt.
        forms: a folder with the folder `huggingface`.
        folder: the folder to write; it must not exist.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import mlflow.pyfunc  # noqa: PLC0415 - two seconds that only this export needs
    import pandas as pd  # noqa: PLC0415 - see above

    example = pd.DataFrame({"prompt": [example_prompt(checkpoint.tokenizer)]})
    params = SamplingConfig().model_dump()
    pairs = isinstance(checkpoint.tokenizer, BytePairTokenizer)
    needed = sorted((*_REQUIREMENTS, *(["tokenizers"] if pairs else [])))
    with tempfile.TemporaryDirectory() as staging, _without_advice():
        mlflow.pyfunc.save_model(
            path=str(folder),
            python_model=str(Path(__file__).with_name("pyfunc_model.py")),
            artifacts={"huggingface": str(forms / "huggingface")},
            code_paths=[str(_stage_code(Path(staging)))],
            signature=_signature(params),
            input_example=(example, params),
            # what a server may change when it opens the model
            model_config=ServeConfig().model_dump(),
            pip_requirements=[f"{name}=={_public_version(name)}" for name in needed],
        )
    _forget_passing_facts(folder)


def open_pyfunc(folder: Path) -> Reader:
    """Open an MLflow model with MLflow, and return its reader."""
    import mlflow.pyfunc  # noqa: PLC0415 - see write_pyfunc

    path, compiling = list(sys.path), sys.dont_write_bytecode
    # the folder will be published, and compiled code names folders of this machine
    sys.dont_write_bytecode = True
    try:
        with _without_advice():
            opened = mlflow.pyfunc.load_model(str(folder)).unwrap_python_model()
    finally:
        # MLflow puts the model's copy of the code first
        sys.path[:] = path
        sys.dont_write_bytecode = compiling
    reader: Reader = opened.model.reader()
    return reader


def _signature(params: dict[str, Any]) -> Any:
    """What comes out, and the params.

    Not what goes in: of a column of texts MLflow makes texts of whatever stands in it, "None" of
    null and brackets and commas of a list. As it is, it reaches the model, which refuses it.
    """
    from mlflow.models import ModelSignature, infer_signature  # noqa: PLC0415 - see write_pyfunc
    from mlflow.types.schema import ColSpec, Schema  # noqa: PLC0415 - see write_pyfunc

    inferred = infer_signature(params=params)
    return ModelSignature(outputs=Schema([ColSpec("string", "text")]), params=inferred.params)


@contextlib.contextmanager
def _without_advice() -> Iterator[None]:
    """Suppress MLflow's advice on type hints, which would remove the signature's params."""
    # a filter does not suffice: MLflow sets its own
    with warnings.catch_warnings(record=True) as caught:
        yield
    for warning in caught:
        if "Add type hints" not in str(warning.message):
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )


def _stage_code(staging: Path) -> Path:
    """Copy the modules that the served model imports."""
    for path in import_closure("tinyllm.formats.pyfunc_model"):
        target = staging / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, target)
    return staging / "tinyllm"


def _forget_passing_facts(folder: Path) -> None:
    """Keep only what follows from the model itself in its description."""
    description = _read(folder / "MLmodel")
    for key in _PASSING_FACTS:
        description.pop(key, None)
    flavor = description["flavors"]["python_function"]
    flavor["python_version"] = _PYTHON
    flavor["model_code_path"] = Path(flavor["model_code_path"]).name
    for artifact in flavor["artifacts"].values():
        artifact["uri"] = artifact["path"]
    _write(folder / "MLmodel", description)
    # the installer's version and Python's patch version are those of this machine
    environment = _read(folder / "python_env.yaml")
    environment.update(python=_PYTHON, build_dependencies=["pip", "setuptools", "wheel"])
    _write(folder / "python_env.yaml", environment)
    conda = _read(folder / "conda.yaml")
    packages = next(item for item in conda["dependencies"] if isinstance(item, dict))
    conda["dependencies"] = [f"python={_PYTHON}", "pip", packages]
    _write(folder / "conda.yaml", conda)
    for cache in folder.rglob("__pycache__"):
        shutil.rmtree(cache)


def _read(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


def _write(path: Path, description: dict[str, Any]) -> None:
    write_text(path, yaml.safe_dump(description, sort_keys=True))


def _public_version(package: str) -> str:
    """The version without the local part, such as `+cpu`, which no package index has."""
    return metadata.version(package).partition("+")[0]
