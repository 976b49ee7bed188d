"""Does another program, opening an export, predict what the model predicts?

Both read the same held-out text character by character, and both continue its beginning with the
likeliest characters. The logits are compared, so that a difference shows long before it changes a
text.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyllm.base.errors import TinyLLMError
from tinyllm.inference.config import SamplingConfig
from tinyllm.inference.generate import Reader
from tinyllm.inference.sampling import next_token

# largest difference of a logit allowed for each precision; only the first is enforced
TOLERANCES = {"f32": 1e-4, "f16": 0.05, "q8_0": 0.5}
BINDING = "f32"
GREEDY_CHARACTERS = 200
PROMPT = 16
_GREEDY = SamplingConfig(temperature=0)


@dataclass(frozen=True)
class Opened:
    """An export opened in a program; `precision` is a key of `TOLERANCES`."""

    export: str
    runtime: str
    precision: str
    reader: Reader
    greedy_characters: int = GREEDY_CHARACTERS


@dataclass(frozen=True)
class Verdict:
    """How well a runtime agrees with the model on one export.

    `max_difference` is of logits; `characters_per_second` is the speed of generating one text.
    """

    export: str
    runtime: str
    precision: str
    max_difference: float
    same_text: bool
    greedy_characters: int
    characters_per_second: float

    @property
    def agrees(self) -> bool:
        """Whether all logits are within the tolerance of the precision."""
        return self.max_difference <= TOLERANCES[self.precision]

    def facts(self) -> dict[str, Any]:
        """The part that is the same on every machine."""
        return {
            "export": self.export,
            "runtime": self.runtime,
            "precision": self.precision,
            "tolerance": TOLERANCES[self.precision],
            "logits": "agree" if self.agrees else "differ",
            "greedy_characters": self.greedy_characters,
            "greedy_text": "same" if self.same_text else "differs",
        }


def compare(opened: Opened, open_native: Callable[[], Reader], passage: list[int]) -> Verdict:
    """Let a runtime and the model read `passage` and continue its beginning.

    Args:
        opened: the export in the runtime.
        open_native: makes a reader of the model itself.
        passage: tokens of held-out text, at most a context window.

    Raises:
        TinyLLMError: a float32 export differs by more than its tolerance.
    """
    difference = _read_both(open_native(), opened.reader, passage)
    count = opened.greedy_characters
    since = time.perf_counter()
    tokens = _write_greedily(opened.reader, passage[:PROMPT], count)
    speed = count / (time.perf_counter() - since)
    verdict = Verdict(
        export=opened.export,
        runtime=opened.runtime,
        precision=opened.precision,
        max_difference=difference,
        same_text=_is_likeliest(open_native(), passage[:PROMPT], tokens),
        greedy_characters=count,
        characters_per_second=speed,
    )
    if opened.precision == BINDING and not verdict.agrees:
        raise TinyLLMError(
            f"The export {opened.export} disagrees with the model: opened in "
            f"{opened.runtime}, a logit differs by {difference:.1e}, more than the "
            f"{TOLERANCES[BINDING]:.0e} allowed; nothing was exported."
        )
    return verdict


def _read_both(native: Reader, opened: Reader, passage: list[int]) -> float:
    """Largest difference of logits over prompts of three lengths and every character after one."""
    differences = []
    for length in (len(passage), len(passage) // 2, 1):
        ours, theirs = native.start([passage[:length]]), opened.start([passage[:length]])
        differences.append(float(np.abs(ours - theirs).max()))
    for token in passage[1:]:
        ours, theirs = native.step([token]), opened.step([token])
        differences.append(float(np.abs(ours - theirs).max()))
    # NaN differs from everything
    return max(differences) if np.isfinite(differences).all() else np.inf


def _write_greedily(reader: Reader, prompt: list[int], count: int) -> list[int]:
    logits = reader.start([prompt])
    tokens: list[int] = []
    while len(tokens) < count:
        tokens.append(next_token(logits[0], _GREEDY, len(tokens)))
        if len(tokens) < count:
            logits = reader.step(tokens[-1:])
    return tokens


def _is_likeliest(native: Reader, prompt: list[int], tokens: list[int]) -> bool:
    """Whether the model, too, would choose each token; of equally likely ones any will do."""
    slack = 2 * TOLERANCES[BINDING]
    logits = native.start([prompt])[0]
    for token in tokens:
        if logits[token] < logits[next_token(logits, _GREEDY, 0)] - slack:
            return False
        logits = native.step([token])[0]
    return True
