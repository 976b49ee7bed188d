"""What of a text tells how low a model can get on it, computed in seconds."""

import math
from dataclasses import asdict, dataclass
from typing import Self

from tinyllm.evaluation.baselines import KneserNeyModel, highest_order
from tinyllm.tokens.shards import Tokens
from tinyllm.tokens.spread import Spread
from tinyllm.tokens.windows import TokenData

# orders of the n-gram models; the least of their losses is the anchor
_SHORT, _MIDDLE, _LONG = 3, 5, 9
# tokens that are counted, and that are predicted, at most
_MOST_COUNTED, _MOST_PREDICTED = 3_000_000, 200_000


@dataclass(frozen=True)
class TextFacts:
    """A text as the scaling rules see it; losses in nats per token of the validation split.

    Attributes:
        train_tokens: of the training split.
        val_tokens: of the validation split.
        vocab_size: of its tokenizer.
        anchor: loss of the best n-gram model of the training split.
        short_anchor: loss of the one that sees two tokens of context.
        middle_anchor: loss of the one that sees four; far above the anchor if long passages are
            repeated, as in licences.
    """

    train_tokens: int
    val_tokens: int
    vocab_size: int
    anchor: float
    short_anchor: float
    middle_anchor: float

    @classmethod
    def of(cls, data: TokenData) -> Self:
        """Count the n-grams of the training split, and predict the validation split."""
        val = Tokens.of(data.val)
        spread = Spread.over(len(val), _MOST_PREDICTED, 1024)
        ranges = [(max(1, start), end) for start, end in spread.ranges()]
        highest = highest_order(data.vocab_size)

        def loss(order: int) -> float:
            model = KneserNeyModel(data.train, data.vocab_size, order, _MOST_COUNTED)
            return model.bits_per_token(val, ranges) * math.log(2)

        short, middle, long = (loss(min(o, highest)) for o in (_SHORT, _MIDDLE, _LONG))
        sizes = len(data.train), len(val), data.vocab_size
        # a text of one repeated character has none to lose
        anchors = min(short, middle, long), short, middle
        return cls(*sizes, *(max(anchor, 1e-6) for anchor in anchors))

    def to_dict(self) -> dict[str, float]:
        """The facts as plain values."""
        return asdict(self)
