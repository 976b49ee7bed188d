"""tinyllm: train, evaluate, export and register a small character-level transformer.

The library needs neither DVC nor MLflow:

    import tinyllm

    text = tinyllm.load_text("mine.txt")
    tokenizer = tinyllm.CharacterTokenizer(text)
    data = tinyllm.TokenData.from_text(text, tokenizer)
    recipe = tinyllm.Recipe(training=tinyllm.TrainingConfig(max_steps=200))
    with tinyllm.ProgressBar(recipe.training.max_steps) as bar:
        result = tinyllm.run_training(data, recipe, tell=bar)
    model = tinyllm.Checkpoint.from_weights(result.weights, recipe.model, tokenizer)
    print(tinyllm.generate_text(model, "What news, "))
"""

import importlib
from importlib import metadata
from typing import Any

# public name -> the module that holds it
_PUBLIC = {
    "BytePairTokenizer": "tinyllm.tokens.byte_pairs",
    "ByteTokenizer": "tinyllm.tokens.byte_level",
    "CharacterTokenizer": "tinyllm.tokens.characters",
    "Checkpoint": "tinyllm.inference.checkpoint",
    "ModelConfig": "tinyllm.model.config",
    "NumericsConfig": "tinyllm.kernels.config",
    "OptimizedTextDataset": "tinyllm.tokens.windows",
    "ProgressBar": "tinyllm.app.watch.bar",
    "Recipe": "tinyllm.training.recipe",
    "SamplingConfig": "tinyllm.inference.config",
    "TinyLLMError": "tinyllm.base.errors",
    "TokenData": "tinyllm.tokens.windows",
    "TrainingConfig": "tinyllm.training.config",
    "Transformer": "tinyllm.model.transformer",
    "build_dataloaders": "tinyllm.tokens.loaders",
    "evaluate": "tinyllm.training.validation",
    "generate_text": "tinyllm.inference.generate",
    "load_model": "tinyllm.formats.load",
    "load_text": "tinyllm.corpus.read",
    "run_training": "tinyllm.training.run",
    "save_checkpoint": "tinyllm.model.checkpoint",
    "setup_numerics": "tinyllm.kernels.numerics",
    "stream_text": "tinyllm.inference.generate",
}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import tinyllm` stays instant."""
    if name == "__version__":
        return metadata.version("tinyllm")
    if name not in _PUBLIC:
        raise AttributeError(f"module 'tinyllm' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_PUBLIC]
