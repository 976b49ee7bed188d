"""The served model, as MLflow runs it: this file is copied into the model and executed there."""

from collections.abc import Iterator
from typing import Any

import pandas as pd
import torch
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

from tinyllm.config.sampling import SamplingConfig
from tinyllm.inference.generate import generate_text, stream_text
from tinyllm.inference.load import load_model


class CharacterLanguageModel(PythonModel):  # type: ignore[misc]  # mlflow's class is untyped
    """Prompts in, texts out; sampling parameters for a whole request."""

    def load_context(self, context: Any) -> None:
        """Open the weights that lie beside this file."""
        # more threads do not help a single stream of a small model
        torch.set_num_threads(1)
        self._model = load_model(context.artifacts["huggingface"])

    # without type hints on purpose: MLflow would take them for the signature and drop its params
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201, ARG002
        """Go on from each prompt; a text begins with its prompt."""
        sampling = SamplingConfig.parse(params or {})
        texts = [generate_text(self._model, prompt, sampling) for prompt in _prompts(model_input)]
        return pd.DataFrame({"text": texts})

    def predict_stream(self, context, model_input, params=None) -> Iterator[str]:  # type: ignore[no-untyped-def] # noqa: ANN001, ARG002
        """Yield the text after the first prompt, character by character."""
        sampling = SamplingConfig.parse(params or {})
        prompt = _prompts(model_input)[0]
        yield from stream_text(self._model, prompt, sampling)


def _prompts(model_input: Any) -> list[str]:
    prompts = model_input["prompt"]
    # a stream is asked for with a dictionary, everything else with a data frame
    return [prompts] if isinstance(prompts, str) else [str(prompt) for prompt in prompts]


set_model(CharacterLanguageModel())
