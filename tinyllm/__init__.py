"""tinyllm: train, evaluate, export and register a small character-level transformer.

The library half needs neither DVC nor MLflow:

    import tinyllm
    model = tinyllm.load_model("models/checkpoint")
    print(tinyllm.generate_text(model, "What news, "))
"""

import importlib
from importlib import metadata
from typing import Any

_PUBLIC = {
    "CharacterTokenizer": "tinyllm.tokens.tokenizer",
    "ModelConfig": "tinyllm.model.config",
    "TrainingConfig": "tinyllm.training.config",
    "Transformer": "tinyllm.model.transformer",
    "evaluate": "tinyllm.training.loop",
    "generate_text": "tinyllm.inference.generate",
    "load_model": "tinyllm.formats.load",
    "run_training": "tinyllm.training.run",
}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that `import tinyllm` stays instant."""
    if name == "__version__":
        return metadata.version("tinyllm")
    if name not in _PUBLIC:
        raise AttributeError(f"module 'tinyllm' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)
