"""A text of any length in one pass of the plain model, each token seeing one window back."""

import torch
from torch.nn import functional as F

from tinyllm.model.transformer import Transformer


class SlidingTransformer(Transformer):
    """What every cache has to equal: it computes everything anew, and remembers nothing."""

    def __init__(self, config, vocab_size, window):
        super().__init__(config, vocab_size)
        self.window = window

    def forward(self, tokens):
        """Logits [batch, time, vocabulary]."""
        return super().forward(tokens, EverythingAtOnce(self, tokens.shape[1]))


class EverythingAtOnce:
    """In the place of a cache: attention to what is given, masked by distance."""

    def __init__(self, model, time):
        self.rotary = model.cosines[:time], model.sines[:time]
        distance = torch.arange(time)[:, None] - torch.arange(time)
        self.mask = (distance >= 0) & (distance < model.window)

    def begin(self, new):
        return self.rotary

    def attend(self, layer, queries, keys, values):
        q, k, v = (x.transpose(1, 2) for x in (queries, keys, values))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask).transpose(1, 2)

    def advance(self, count):
        pass


def sliding(model, length):
    """The same weights with room for `length` tokens that each see one window of `model` back."""
    config = model.config.model_copy(update={"sequence_length": length})
    longer = SlidingTransformer(config, model.vocab_size, model.config.sequence_length)
    longer.load_state_dict(model.state_dict())
    return longer.eval()
