"""The model as one HTML file: it runs in the browser, with nothing to install and no network."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyllm.base.outs import OutFile
from tinyllm.base.replacing import write_out
from tinyllm.inference.checkpoint import Checkpoint
from tinyllm.tokens.byte_level import ByteTokenizer
from tinyllm.tokens.characters import CharacterTokenizer
from tinyllm.tokens.tokenizer import Tokenizer

PAGE = Path(__file__).with_name("page")
SCRIPTS = ("model.js", "tokenizers.js", "sampling.js", "panels.js", "text.js", "page.js")
_FORMAT = "tinyllm-playground-2"
PAGE_FILE = OutFile(
    "tinyllm playground", b"<!doctype html>\n", b"<title>tinyllm playground</title>"
)


def write_playground(checkpoint: Checkpoint, path: Path, prompt: str) -> None:
    """Write the page, weights and all; the same checkpoint gives the same bytes.

    Args:
        checkpoint: the model.
        path: the file to write.
        prompt: initial text of the prompt field.

    Raises:
        ConfigError: `path` is a file of another kind.
        TinyLLMError: the file cannot be written.
    """
    state = checkpoint.model.state_dict()
    tensors = {name: state[name].detach().cpu().float().numpy() for name in sorted(state)}
    description = {
        "format": _FORMAT,
        "prompt": prompt,
        "model": checkpoint.model.config.model_dump(exclude={"dropout"}),
        "tokenizer": describe_tokenizer(checkpoint.tokenizer),
        "tensors": _places(tensors),
    }
    weights = b"".join(tensor.astype("<f4").tobytes() for tensor in tensors.values())
    unit = checkpoint.tokenizer.unit
    parts = {
        "unit": unit,
        "Units": f"{unit.capitalize()}s",
        "style": _read("style.css"),
        # a script element ends at the first "</script", even inside a JSON string
        "description": json.dumps(description).replace("<", "\\u003c"),
        "weights": base64.b64encode(weights).decode("ascii"),
        "script": "\n".join(_read(name) for name in SCRIPTS),
    }
    page = re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _read("page.html"))
    write_out(path, page.encode(), PAGE_FILE)


def describe_tokenizer(tokenizer: Tokenizer) -> dict[str, Any]:
    """What the page needs to know of a tokenizer; see `openTokenizer` in tokenizers.js."""
    match tokenizer:
        case CharacterTokenizer():
            return {"kind": "characters", "alphabet": list(tokenizer.alphabet)}
        case ByteTokenizer():
            return {"kind": "bytes", "unit": tokenizer.unit, "merges": tokenizer.merges}
        case _:
            raise TypeError(f"the page cannot read as a {type(tokenizer).__name__} does")


def _places(tensors: dict[str, NDArray[np.float32]]) -> dict[str, Any]:
    """Shapes and offsets, in elements, of the concatenated tensors."""
    places: dict[str, Any] = {}
    offset = 0
    for name, tensor in tensors.items():
        places[name] = {"offset": offset, "shape": list(tensor.shape)}
        offset += tensor.size
    return places


def _read(name: str) -> str:
    return (PAGE / name).read_text(encoding="utf-8")
