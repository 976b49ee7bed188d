"""The exported model in ONNX Runtime, without torch."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyllm.base.errors import TinyLLMError
from tinyllm.formats.tokenizer_json import tokenizer_from_huggingface
from tinyllm.tokens.tokenizer import Tokenizer

FORMAT = "tinyllm-onnx-2"
GRAPH = "onnx/model.onnx"
_ONLY_ERRORS = 3
# float32 numbers in the widest vector registers
_REGISTER = 16
_LONGEST_NUMBER = 10


class OnnxModel:
    """A model in ONNX Runtime.

    Attributes:
        tokenizer: the tokenizer it was trained with.
        window: how many tokens it attends to.
    """

    def __init__(self, session: Any, tokenizer: Tokenizer, window: int) -> None:
        self.tokenizer = tokenizer
        self.window = window
        self._session = session

    def reader(self) -> "OnnxReader":
        """A new reader."""
        return OnnxReader(self._session, self.window)


class OnnxReader:
    """Predicts the next token of each of several texts.

    Prompts are read one by one, and continued together. What has been read of each lies at the
    right end of the same number of places, which grows and shrinks so that the others of a batch
    move a text by whole vector registers only. Zeros in front of it then change neither sums nor
    their order, so the results do not depend on the other texts.
    """

    def __init__(self, session: Any, window: int) -> None:
        self._session = session
        self._window = window
        past = [entry for entry in session.get_inputs() if entry.name.startswith("past_key_values")]
        # each [batch, heads, past, head_dim], in the order of the outputs after the logits
        self._names = [entry.name for entry in past]
        self._reach = len(past) // 2 * (window - 1)
        _, self._heads, _, self._head_dim = past[0].shape

    def start(self, prompts: list[list[int]]) -> NDArray[np.float32]:
        """Reset and read `prompts`, each of at least one token.

        Returns:
            Logits of the next tokens: [prompts, vocabulary].
        """
        read = [self._read(prompt) for prompt in prompts]
        self._lengths = np.array([len(prompt) for prompt in prompts])
        kept = min(int(self._lengths.max()), self._window - 1)
        places = -(-kept // _REGISTER) * _REGISTER
        # [texts, heads, places, head_dim] of each input
        self._past = [
            np.concatenate([_last_places(values[entry], places) for _, values in read])
            for entry in range(len(self._names))
        ]
        return np.stack([logits for logits, _ in read])

    def step(self, tokens: list[int]) -> NDArray[np.float32]:
        """Read one more token of each text; returns the same as `start`."""
        if len(tokens) != len(self._lengths):
            raise ValueError("there must be one token for each text")
        places = self._past[0].shape[2]
        # the token itself, and before it what is left of a window
        mask = np.arange(places, -1, -1) <= np.minimum(self._lengths, self._window - 1)[:, None]
        ids = np.array(tokens, dtype=np.int64)[:, None]
        logits, self._past = self._run(ids, self._lengths[:, None], mask, self._past)
        self._lengths += 1
        if places + 1 >= self._window - 1 + _REGISTER:
            self._past = [_last_places(v, places + 1 - _REGISTER) for v in self._past]
        return logits

    def _read(self, prompt: list[int]) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        """Read a prompt, at most a window at once: logits of the next, and what was read.

        A long one is read from its last windows on: nothing before can reach the next token.
        See `tinyllm.inference.reader.beyond_reach`, which this module cannot import without torch.
        """
        if not prompt:
            raise ValueError("there must be at least one token to read")
        begin = max(len(prompt) - 1 - self._reach, 0) // self._window * self._window
        past = self._nothing(self._window - 1 if begin else 0)
        for first in range(begin, len(prompt), self._window):
            ids = np.array([prompt[first : first + self._window]], dtype=np.int64)
            positions = np.arange(first, first + ids.shape[1])[None]
            mask = np.ones((1, past[0].shape[2] + ids.shape[1]))
            logits, present = self._run(ids, positions, mask, past)
            past = [_last_places(v, min(v.shape[2], self._window - 1)) for v in present]
        return logits[0], past

    def _nothing(self, places: int) -> list[NDArray[np.float32]]:
        empty = np.zeros((1, self._heads, places, self._head_dim), dtype=np.float32)
        return [empty] * len(self._names)

    def _run(
        self,
        ids: NDArray[np.int64],
        positions: NDArray[Any],
        mask: NDArray[Any],
        past: list[NDArray[np.float32]],
    ) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        """Logits after the last token, [texts, vocabulary], and keys and values with the tokens."""
        inputs = {
            "input_ids": ids,
            "position_ids": positions.astype(np.int64),
            "attention_mask": mask.astype(np.int64),
            **dict(zip(self._names, past, strict=True)),
        }
        logits, *present = self._session.run(None, inputs)
        return logits[:, -1], present


def _last_places(values: NDArray[np.float32], places: int) -> NDArray[np.float32]:
    """The last places of keys or values, [texts, heads, places, head_dim], behind zeros if few."""
    missing = places - values.shape[2]
    if missing > 0:
        return np.pad(values, ((0, 0), (0, 0), (missing, 0), (0, 0)))
    return np.ascontiguousarray(values[:, :, -missing:])


def load_onnx(folder: Path, graph: str = GRAPH, threads: int = 1) -> OnnxModel:
    """Open a graph that `write_onnx` wrote.

    Args:
        folder: the folder of the tokenizer.
        graph: where in it the graph is.
        threads: how many threads one step may use; a small model seldom gains by more than one.

    Raises:
        TinyLLMError: there is no model in the folder, it is damaged or from another program, or
            ONNX Runtime is not installed.
    """
    path = folder / graph
    if not path.is_file():
        raise TinyLLMError(f"There is no ONNX model at {path}; run the export stage first.")
    tokenizer = tokenizer_from_huggingface(folder / "tokenizer.json")
    session = _open_session(path, threads)
    window = _window_of(session)
    if window is None:
        raise TinyLLMError(f"{path} is not a model that this program wrote.")
    if session.get_outputs()[0].shape[-1] != tokenizer.vocab_size:
        raise TinyLLMError(f"{path} does not fit the {folder / 'tokenizer.json'}.")
    return OnnxModel(session, tokenizer, int(window))


def _window_of(session: Any) -> int | None:
    """How many tokens a model of this program attends to; None of any other model."""
    try:
        facts = session.get_modelmeta().custom_metadata_map
        names = [entry.name for entry in (*session.get_inputs(), *session.get_outputs())]
    except UnicodeDecodeError:
        return None
    window = facts.get("sequence_length", "")
    ours = facts.get("format") == FORMAT and {"input_ids", "logits"} <= set(names)
    return int(window) if ours and window.isdecimal() and len(window) < _LONGEST_NUMBER else None


def _open_session(path: Path, threads: int) -> Any:
    try:
        import onnxruntime  # noqa: PLC0415 - an optional dependency
    except ImportError:
        raise TinyLLMError(
            f"{path} needs ONNX Runtime, which is not installed; "
            f"install it with: pip install 'tinyllm[export]'."
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _ONLY_ERRORS
    try:
        return onnxruntime.InferenceSession(
            path.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
    except OSError as error:
        raise TinyLLMError(f"Cannot read {path}: {error.strerror}.") from None
    except Exception as error:  # ONNX Runtime's errors have no common class
        reason = " ".join(str(error).split()).rstrip(".")
        raise TinyLLMError(f"{path} is damaged: {reason}.") from None
