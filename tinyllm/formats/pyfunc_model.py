"""The served model: MLflow copies this file into the model and executes it there.

It uses ONNX Runtime, which generates text several times as fast as torch, and needs neither torch
nor anything of this project that is not copied with it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

from tinyllm.formats.onnx_model import OnnxModel, load_onnx
from tinyllm.inference.config import SamplingConfig
from tinyllm.inference.generate import generate_texts, stream_text


class CharacterLanguageModel(PythonModel):  # type: ignore[misc]  # mlflow's class is untyped
    """Prompts in, texts out; sampling parameters apply to the whole request."""

    model: OnnxModel

    def load_context(self, context: Any) -> None:
        """Open the ONNX graph."""
        self.model = load_onnx(Path(context.artifacts["onnx"]))

    # no type hints: MLflow would use them as the signature and drop its params
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201, ARG002
        """Continue each prompt; a text begins with its prompt."""
        sampling = SamplingConfig.parse(params or {})
        return pd.DataFrame({"text": generate_texts(self.model, _prompts(model_input), sampling)})

    def predict_stream(self, context, model_input, params=None) -> Iterator[str]:  # type: ignore[no-untyped-def] # noqa: ANN001, ARG002
        """Yield the continuation of the first prompt, character by character."""
        sampling = SamplingConfig.parse(params or {})
        prompt = _prompts(model_input)[0]
        yield from stream_text(self.model, prompt, sampling)


def _prompts(model_input: Any) -> list[str]:
    prompts = model_input["prompt"]
    # MLflow passes a dictionary for a stream, a data frame for everything else
    return [prompts] if isinstance(prompts, str) else [str(prompt) for prompt in prompts]


set_model(CharacterLanguageModel())
