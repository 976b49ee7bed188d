"""The served model, as MLflow runs it: this file is copied into the model and executed there.

It computes in ONNX Runtime, which writes several times as fast as torch, and needs neither torch
nor anything of this project that does not travel with it.
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
    """Prompts in, texts out; sampling parameters for a whole request."""

    model: OnnxModel

    def load_context(self, context: Any) -> None:
        """Open the graph that lies beside this file."""
        self.model = load_onnx(Path(context.artifacts["onnx"]))

    # without type hints on purpose: MLflow would take them for the signature and drop its params
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201, ARG002
        """Go on from each prompt; a text begins with its prompt."""
        sampling = SamplingConfig.parse(params or {})
        return pd.DataFrame({"text": generate_texts(self.model, _prompts(model_input), sampling)})

    def predict_stream(self, context, model_input, params=None) -> Iterator[str]:  # type: ignore[no-untyped-def] # noqa: ANN001, ARG002
        """Yield the text after the first prompt, character by character."""
        sampling = SamplingConfig.parse(params or {})
        prompt = _prompts(model_input)[0]
        yield from stream_text(self.model, prompt, sampling)


def _prompts(model_input: Any) -> list[str]:
    prompts = model_input["prompt"]
    # a stream is asked for with a dictionary, everything else with a data frame
    return [prompts] if isinstance(prompts, str) else [str(prompt) for prompt in prompts]


set_model(CharacterLanguageModel())
