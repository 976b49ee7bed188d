"""The exported model in ONNX Runtime, without torch."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyllm.base.errors import TinyLLMError
from tinyllm.formats.tokenizer_json import tokenizer_from_huggingface
from tinyllm.tokens.tokenizer import CharacterTokenizer

FORMAT = "tinyllm-onnx-2"
GRAPH = "onnx/model.onnx"
_ONLY_ERRORS = 3
_LONGEST_NUMBER = 10


class OnnxModel:
    """A model in ONNX Runtime.

    Attributes:
        tokenizer: the tokenizer it was trained with.
        window: how many characters it attends to.
    """

    def __init__(self, session: Any, tokenizer: CharacterTokenizer, window: int) -> None:
        self.tokenizer = tokenizer
        self.window = window
        self._session = session

    def reader(self) -> "OnnxReader":
        """A new reader."""
        return OnnxReader(self._session, self.window)


class OnnxReader:
    """Predicts the next character of each of several texts.

    Each text is read separately, so that the results do not depend on the other texts.
    """

    def __init__(self, session: Any, window: int) -> None:
        self._session = session
        self._window = window
        self._texts: list[_Text] = []

    def start(self, prompts: list[list[int]]) -> NDArray[np.float32]:
        """Reset and read `prompts`, each of at least one token.

        Returns:
            Logits of the next tokens: [prompts, vocabulary].
        """
        self._texts = [_Text(self._session, self._window) for _ in prompts]
        return self._read(prompts)

    def step(self, tokens: list[int]) -> NDArray[np.float32]:
        """Read one more token of each text; returns the same as `start`."""
        return self._read([[token] for token in tokens])

    def _read(self, pieces: list[list[int]]) -> NDArray[np.float32]:
        return np.stack(
            [text.read(tokens) for text, tokens in zip(self._texts, pieces, strict=True)]
        )


class _Text:
    """One text, with keys and values of the characters that the next one may attend to."""

    def __init__(self, session: Any, window: int) -> None:
        self._session = session
        self._window = window
        self._length = 0
        past = [entry for entry in session.get_inputs() if entry.name.startswith("past_key_values")]
        # each [batch, heads, past, head_dim], in the order of the outputs after the logits
        self._past = [entry.name for entry in past]
        self._reach = len(past) // 2 * (window - 1)
        _, heads, _, head_dim = past[0].shape
        self._shape = (1, heads, head_dim)
        self._keep(self._empty(0))

    def read(self, tokens: list[int]) -> NDArray[np.float32]:
        """Read tokens, at most a window at once; logits of the next, [vocabulary]."""
        if not tokens:
            raise ValueError("there must be at least one token to read")
        if self._length == 0:
            tokens = tokens[self._pass_over(len(tokens)) :]
        for first in range(0, len(tokens), self._window):
            logits = self._run(tokens[first : first + self._window])
        return logits

    def _pass_over(self, length: int) -> int:
        """Begin a long text in its last windows: nothing else can reach the next character.

        See `tinyllm.inference.reader.beyond_reach`, which this module cannot import without torch.
        """
        self._length = max(length - 1 - self._reach, 0) // self._window * self._window
        if self._length:
            self._keep(self._empty(self._window - 1))
        return self._length

    def _empty(self, past: int) -> list[NDArray[np.float32]]:
        batch, heads, head_dim = self._shape
        return [np.zeros((batch, heads, past, head_dim), dtype=np.float32)] * len(self._past)

    def _run(self, tokens: list[int]) -> NDArray[np.float32]:
        end = self._length + len(tokens)
        inputs = {
            "input_ids": np.array([tokens], dtype=np.int64),
            "position_ids": np.arange(self._length, end, dtype=np.int64)[None],
            "attention_mask": np.ones((1, self._kept + len(tokens)), dtype=np.int64),
            **self._cache,
        }
        logits, *present = self._session.run(None, inputs)
        self._keep(present)
        self._length = end
        last: NDArray[np.float32] = logits[0, -1]
        return last

    def _keep(self, present: list[NDArray[np.float32]]) -> None:
        """Keep the part that the next character may attend to."""
        most = self._window - 1
        length = present[0].shape[2]
        self._kept = min(length, most)
        if length > most:
            present = [np.ascontiguousarray(values[:, :, length - most :]) for values in present]
        self._cache = dict(zip(self._past, present, strict=True))


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
    """How many characters a model of this program attends to; None of any other model."""
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
