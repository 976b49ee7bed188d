"""A Python client on one thread: seconds per character, for `benchmarks/clients.py`.

It runs in the client's own environment, in which nothing of this project is installed.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
# before anything counts the cores
os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}

from benchmarks.interleave import seconds_each, serve


def with_onnxruntime(folder: str, prompt: str, count: int) -> Callable[[], object]:
    """ONNX Runtime alone, as anybody would write the loop."""
    import numpy as np
    import onnxruntime
    from transformers import AutoTokenizer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(f"{folder}/onnx/model.onnx", options)
    past = [entry for entry in session.get_inputs() if entry.name.startswith("past_key_values.")]
    asked = ["logits", *(entry.name.replace("past_key_values", "present") for entry in past)]
    ids = AutoTokenizer.from_pretrained(folder)(prompt).input_ids

    def write() -> None:
        unread, read = ids, 0
        cache = [np.zeros((1, entry.shape[1], 0, entry.shape[3]), np.float32) for entry in past]
        for _ in range(count):
            feeds: dict[str, Any] = {
                "input_ids": np.array([unread]),
                "attention_mask": np.ones((1, read + len(unread)), np.int64),
                "position_ids": np.arange(read, read + len(unread))[None],
            }
            feeds |= {entry.name: kept for entry, kept in zip(past, cache, strict=True)}
            logits, *cache = session.run(asked, feeds)
            read += len(unread)
            unread = [int(logits[0, -1].argmax())]

    return write


def with_model(model: Any, folder: str, prompt: str, count: int) -> Callable[[], object]:
    """`generate` of transformers, whatever computes the model."""
    from transformers import AutoTokenizer, logging

    logging.set_verbosity_error()
    tokens = AutoTokenizer.from_pretrained(folder)(prompt, return_tensors="pt")
    return lambda: model.generate(**tokens, do_sample=False, max_new_tokens=count)


def with_optimum(folder: str, prompt: str, count: int) -> Callable[[], object]:
    """Optimum on ONNX Runtime."""
    import onnxruntime
    from optimum.onnxruntime import ORTModelForCausalLM

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    where = {"subfolder": "onnx", "file_name": "model.onnx", "session_options": options}
    return with_model(ORTModelForCausalLM.from_pretrained(folder, **where), folder, prompt, count)


def with_transformers(folder: str, prompt: str, count: int) -> Callable[[], object]:
    """The library itself, on torch."""
    from transformers import AutoModelForCausalLM

    return with_model(AutoModelForCausalLM.from_pretrained(folder), folder, prompt, count)


def export(folder: str, target: str) -> None:
    """The client's own export: Optimum's graph, and what transformers saves."""
    from optimum.exporters.onnx import main_export
    from transformers import AutoModelForCausalLM, AutoTokenizer

    AutoTokenizer.from_pretrained(folder).save_pretrained(target)
    AutoModelForCausalLM.from_pretrained(folder).save_pretrained(target)
    main_export(
        folder, output=f"{target}/onnx", task="text-generation-with-past", do_validation=False
    )


if __name__ == "__main__":
    kind, *words = sys.argv[1:]
    if kind == "export":
        export(*words)
    else:
        folder, prompt, count = words[0], words[1], int(words[2])
        makers = {
            "onnxruntime": with_onnxruntime,
            "optimum": with_optimum,
            "transformers": with_transformers,
        }
        write = makers[kind](folder, prompt, count)
        serve(lambda: seconds_each(write, 1) / count)
