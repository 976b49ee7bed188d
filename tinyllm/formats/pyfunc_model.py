"""The served model: MLflow copies this file into the model and executes it there.

It uses ONNX Runtime, which generates text several times as fast as torch, and needs neither torch
nor anything of this project that is not copied with it.
"""

import time
from collections.abc import Callable, Iterator
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import CANCELLED, DEADLINE_EXCEEDED, INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel

from tinyllm.base.errors import ConfigError, TinyLLMError
from tinyllm.formats.onnx_model import OnnxModel, load_onnx
from tinyllm.inference.config import SamplingConfig
from tinyllm.inference.generate import generate_texts, stream_text
from tinyllm.inference.request import ServeConfig, check_request

# a server that knows when a client leaves has an event in a context variable of this name; it is
# found by its name, since server and model may come from different versions of this project
_CLIENT_LEFT = "client_left"


class ServedLanguageModel(PythonModel):  # type: ignore[misc]  # mlflow's class is untyped
    """Prompts in, texts out; sampling parameters apply to the whole request."""

    model: OnnxModel
    limits: ServeConfig

    def load_context(self, context: Any) -> None:
        """Open the ONNX graph."""
        self.model = load_onnx(Path(context.artifacts["huggingface"]))
        self.limits = ServeConfig.parse(context.model_config)

    # no type hints: MLflow would use them as the signature and drop its params
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201, ARG002  # see above
        """Continue each prompt; a text begins with its prompt."""
        prompts, sampling = self._read_request(model_input, params)
        wanted = _still_wanted(self.limits)
        return pd.DataFrame({"text": generate_texts(self.model, prompts, sampling, wanted)})

    def predict_stream(self, context, model_input, params=None) -> Iterator[str]:  # type: ignore[no-untyped-def] # noqa: ANN001, ARG002  # see above
        """Yield the continuation of the first prompt, token by token."""
        prompts, sampling = self._read_request(model_input, params)
        wanted = _still_wanted(self.limits)
        for piece in stream_text(self.model, prompts[0], sampling):
            yield piece
            wanted()

    def _read_request(self, model_input: Any, params: Any) -> tuple[list[str], SamplingConfig]:
        """Prompts and sampling of a request.

        Raises:
            MlflowException: either is refused; the server passes the sentence on, as of no other
                error.
        """
        try:
            sampling = SamplingConfig.parse(params or {})
            prompts = _prompts(model_input)
            check_request(prompts, sampling, self.limits)
        except TinyLLMError as error:
            raise MlflowException(str(error), error_code=INVALID_PARAMETER_VALUE) from None
        return prompts, sampling


def _still_wanted(limits: ServeConfig) -> Callable[[], None]:
    """A function that ends a request which takes too long, or whose client has left."""
    end = time.monotonic() + limits.max_seconds
    left = next(
        (event for name, event in copy_context().items() if name.name == _CLIENT_LEFT), None
    )

    def check() -> None:
        if left is not None and left.is_set():
            raise MlflowException("The client has left.", error_code=CANCELLED)
        if time.monotonic() > end:
            raise MlflowException(
                f"The request was not done after {limits.max_seconds:g} seconds; ask for fewer "
                f"tokens, or again when the server is less busy.",
                error_code=DEADLINE_EXCEEDED,
            )

    return check


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


set_model(ServedLanguageModel())
