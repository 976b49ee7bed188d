"""tinyllm: train, evaluate, export and register a small character-level transformer.

The library half needs neither DVC nor MLflow:

    import tinyllm
    model = tinyllm.load_model("models/checkpoint")
    print(tinyllm.generate_text(model, "What news, "))
"""

import importlib
from typing import Any

_PUBLIC = {
    "CharacterTokenizer": "tinyllm.tokenization.tokenizer",
    "ModelConfig": "tinyllm.config.model",
    "TrainingConfig": "tinyllm.config.training",
    "Transformer": "tinyllm.models.transformer",
    "evaluate": "tinyllm.training.loop",
    "generate_text": "tinyllm.inference.generate",
    "load_model": "tinyllm.inference.load",
    "run_training": "tinyllm.training.run",
}

__all__ = list(_PUBLIC)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that `import tinyllm` stays instant."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'tinyllm' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)
