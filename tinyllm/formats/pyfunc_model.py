"""The served model: MLflow copies this file into the model and executes it there.

It uses ONNX Runtime, which generates text several times as fast as torch, and needs neither torch
nor anything of this project that is not copied with it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel

from tinyllm.base.errors import ConfigError, TinyLLMError
from tinyllm.formats.onnx_model import OnnxModel, load_onnx
from tinyllm.inference.config import SamplingConfig, check_request
from tinyllm.inference.generate import generate_texts, stream_text


class CharacterLanguageModel(PythonModel):  # type: ignore[misc]  # mlflow's class is untyped
    """Prompts in, texts out; sampling parameters apply to the whole request."""

    model: OnnxModel

    def load_context(self, context: Any) -> None:
        """Open the ONNX graph."""
        self.model = load_onnx(Path(context.artifacts["huggingface"]))

    # no type hints: MLflow would use them as the signature and drop its params
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201, ARG002  # see above
        """Continue each prompt; a text begins with its prompt."""
        prompts, sampling = _read_request(model_input, params)
        return pd.DataFrame({"text": generate_texts(self.model, prompts, sampling)})

    def predict_stream(self, context, model_input, params=None) -> Iterator[str]:  # type: ignore[no-untyped-def] # noqa: ANN001, ARG002  # see above
        """Yield the continuation of the first prompt, character by character."""
        prompts, sampling = _read_request(model_input, params)
        yield from stream_text(self.model, prompts[0], sampling)


def _read_request(model_input: Any, params: Any) -> tuple[list[str], SamplingConfig]:
    """Prompts and sampling of a request.

    Raises:
        MlflowException: either is refused; the server passes the sentence on, as of no other error.
    """
    try:
        sampling = SamplingConfig.parse(params or {})
        prompts = _prompts(model_input)
        check_request(prompts, sampling)
    except TinyLLMError as error:
        raise MlflowException(str(error), error_code=INVALID_PARAMETER_VALUE) from None
    return prompts, sampling


def _prompts(model_input: Any) -> list[Any]:
    """The prompts of a data frame, of a dictionary of a column or a cell, or of a list.

    Raises:
        ConfigError: there is no column of prompts.
    """
    column = model_input
    if isinstance(model_input, dict | pd.DataFrame):
        if "prompt" not in model_input:
            names = ", ".join(map(str, model_input)) or "none"
            raise ConfigError(f"The prompts must stand in a column 'prompt'; there is {names}.")
        column = model_input["prompt"]
    # MLflow makes an array of a list, also of an empty shape
    column = column.tolist() if hasattr(column, "tolist") else column
    return column if isinstance(column, list) else [column]


set_model(CharacterLanguageModel())
