"""A small tokenizer of each kind, learned once."""

import functools
from collections import Counter

from tests.conftest import ROOT
from tinyllm.tokens.config import TokenizeConfig
from tinyllm.tokens.tokenizer import learn_tokenizer

KINDS = ("char", "byte", "bpe")
# what programs split differently if they do not take care
DIFFICULT = (
    "",
    " ",
    "What news, my lord?",
    "  two  blanks,\ttab\t\t, end  ",
    "\n\n\nlines\n \n  in\r\nfour\rways\x85\u2028",
    "we've don't I'LL 'tis rock'n'roll '' 's",
    "1234 12\u00bd \u0663\u0664 x2",
    "\u00e9 e\u0301 \u1112\u1161\u11ab q\u0323\u0307\u0327",
    "\u6f22\u5b57\u3002\u304b\u306a\u3001\u30ab\u30ca\uff01\u3000\ud55c\uad6d\uc5b4",
    "\U0001f600\U0001f468\u200d\U0001f680\U0001f1e9\U0001f1ea \U0001f44d\U0001f3fd\ufe0f",
    "\x00\x01\x1f\x7f \u00a0\u200b\ufeff\ufffd\u0100 <unk> <|endoftext|> \u0120the",
    "\u0645\u0631\u062d\u0628\u0627 \u0928\u092e\u0938\u094d\u0924\u0947 \u0e2a\u0e27\u0e31\u0e2a",
    "((--__==!?\u2026\u2019)) $%&/ ...,,,",
    "a" * 300 + " " * 300 + "\n" * 300,
)


@functools.cache
def learned(kind, vocab_size=600):
    """A tokenizer of a part of the sample."""
    text = (ROOT / "data/raw/sample/the-salt-duke.txt").read_text(encoding="utf-8")[:20_000]
    text += " \u00e9t\u00e9 na\u00efve \u6f22\u5b57 \u6f22\u5b57 \U0001f600\U0001f600\n" * 3
    return learn_tokenizer(TokenizeConfig(kind=kind, vocab_size=vocab_size), Counter(text), [text])
