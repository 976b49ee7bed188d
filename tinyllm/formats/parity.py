"""Does another program, opening an export, predict what the model predicts?

Both read the same held-out text token by token, and both continue its beginning with the
likeliest tokens. The logits are compared, so that a difference shows long before it changes a
text.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyllm.base.errors import TinyLLMError
from tinyllm.inference.config import SamplingConfig
from tinyllm.inference.generate import Reader
from tinyllm.inference.sampling import next_token

# largest difference of a logit allowed for each precision; only the first is enforced
TOLERANCES = {"f32": 1e-4, "f16": 0.05, "q8_0": 0.5, "int8": 0.5}
BINDING = "f32"
GREEDY_TOKENS = 200
PROMPT = 16
_GREEDY = SamplingConfig(temperature=0)


@dataclass(frozen=True)
class Opened:
    """An export opened in a program; `precision` is a key of `TOLERANCES`."""

    export: str
    runtime: str
    precision: str
    reader: Reader
    greedy_tokens: int = GREEDY_TOKENS


@dataclass(frozen=True)
class Verdict:
    """How well a runtime agrees with the model on one export.

    `max_difference` is of logits; `tokens_per_second` is the speed of generating one text.
    """

    export: str
    runtime: str
    precision: str
    max_difference: float
    same_text: bool
    greedy_tokens: int
    tokens_per_second: float

    @property
    def agrees(self) -> bool:
        """Whether all logits are within the tolerance of the precision."""
        return self.max_difference <= TOLERANCES[self.precision]

    def __str__(self) -> str:
        """One line for the screen."""
        text = "same text" if self.same_text else "another text"
        return (
            f"{self.export} in {self.runtime}: logits {self.max_difference:.1e} apart, {text}, "
            f"{self.tokens_per_second:,.0f} tokens/s"
        )

    def facts(self) -> dict[str, Any]:
        """The part that is the same on every machine."""
        return {
            "export": self.export,
            "runtime": self.runtime,
            "precision": self.precision,
            "tolerance": TOLERANCES[self.precision],
            "logits": "agree" if self.agrees else "differ",
            "greedy_tokens": self.greedy_tokens,
            "greedy_text": "same" if self.same_text else "differs",
        }


class Native:
    """What the model itself predicts on a passage, computed once for all programs.

    Args:
        open_reader: makes a reader of the model.
        passage: tokens of held-out text, at most a context window.
        unknown: see `Tokenizer.unknown_id`.
    """

    def __init__(
        self, open_reader: Callable[[], Reader], passage: list[int], unknown: int | None
    ) -> None:
        self.passage, self.unknown = passage, unknown
        self._open_reader = open_reader
        self._likeliest: dict[tuple[int, ...], bool] = {}

    @cached_property
    def logits(self) -> list[NDArray[np.float32]]:
        """See `_read`."""
        return list(_read(self._open_reader(), self.passage))

    def is_likeliest(self, tokens: list[int]) -> bool:
        """Whether the model would choose each token after the passage's beginning.

        Of equally likely ones any will do.
        """
        key = tuple(tokens)
        if key not in self._likeliest:
            self._likeliest[key] = self._chooses(tokens)
        return self._likeliest[key]

    def _chooses(self, tokens: list[int]) -> bool:
        slack = 2 * TOLERANCES[BINDING]
        reader = self._open_reader()
        logits = reader.start([self.passage[:PROMPT]])[0]
        for token in tokens:
            if logits[token] < logits[next_token(logits, _GREEDY, 0, self.unknown)] - slack:
                return False
            logits = reader.step([token])[0]
        return True


def compare(opened: Opened, native: Native) -> Verdict:
    """Let a program read the passage and continue its beginning, and judge it by the model.

    Raises:
        TinyLLMError: a float32 export differs by more than its tolerance.
    """
    difference = _difference(_read(opened.reader, native.passage), native.logits)
    count = opened.greedy_tokens
    since = time.perf_counter()
    tokens = _write_greedily(opened.reader, native, count)
    speed = count / (time.perf_counter() - since)
    verdict = Verdict(
        export=opened.export,
        runtime=opened.runtime,
        precision=opened.precision,
        max_difference=difference,
        same_text=native.is_likeliest(tokens),
        greedy_tokens=count,
        tokens_per_second=speed,
    )
    if opened.precision == BINDING and not verdict.agrees:
        raise TinyLLMError(
            f"The export {opened.export} disagrees with the model: opened in "
            f"{opened.runtime}, a logit differs by {difference:.1e}, more than the "
            f"{TOLERANCES[BINDING]:.0e} allowed; nothing was exported."
        )
    return verdict


def _read(reader: Reader, passage: list[int]) -> Iterator[NDArray[np.float32]]:
    """Logits after prompts of three lengths, and after every token that follows the last."""
    for length in (len(passage), len(passage) // 2, 1):
        yield reader.start([passage[:length]])
    for token in passage[1:]:
        yield reader.step([token])


def _difference(
    theirs: Iterable[NDArray[np.float32]], ours: Iterable[NDArray[np.float32]]
) -> float:
    """Largest difference of a logit; infinite if one is not finite, as NaN differs from all."""
    found = [float(np.abs(a - b).max()) for a, b in zip(theirs, ours, strict=True)]
    return max(found) if np.isfinite(found).all() else np.inf


def _write_greedily(reader: Reader, native: Native, count: int) -> list[int]:
    logits = reader.start([native.passage[:PROMPT]])
    tokens: list[int] = []
    while len(tokens) < count:
        tokens.append(next_token(logits[0], _GREEDY, len(tokens), native.unknown))
        if len(tokens) < count:
            logits = reader.step(tokens[-1:])
    return tokens
