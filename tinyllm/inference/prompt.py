"""Prompts as tokens: in the form in which the model knows their characters, if it knows some."""

import logging
from collections.abc import Iterator, Sequence

from tinyllm.base.normalization import normalize
from tinyllm.tokens.tokenizer import Tokenizer

_log = logging.getLogger(__name__)
_FORMS = ("NFC", "NFD", "NFKC", "NFKD")
_NAMED = 10


def encode_prompts(tokenizer: Tokenizer, prompts: Sequence[str]) -> list[list[int]]:
    """The tokens of each prompt, at least one; unknown characters are warned of in one line."""
    texts = [in_known_form(prompt, tokenizer) for prompt in prompts]
    if unknown := tokenizer.unknown("".join(texts)):
        shown = " ".join(map(repr, unknown[:_NAMED]))
        more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
        _log.warning("The model has never seen %s%s in training; it reads <unk>.", shown, more)
    # without a prompt the text begins as if at the start of a line
    return [tokenizer.encode(text or "\n").tolist() for text in texts]


def in_known_form(prompt: str, tokenizer: Tokenizer) -> str:
    """The prompt in the form that has the fewest unknown characters.

    The corpus was normalized when it was prepared: its line breaks, and the form of its accents. A
    checkpoint knows the result, its alphabet, but not how it came about; so of the line breaks and
    forms that Unicode has, the first that fits best is taken, and a prompt that is known as it is
    stays as it is, as does every prompt for a tokenizer that knows all characters.
    """
    best, fewest = prompt, _count_unknown(prompt, tokenizer)
    for other in _other_forms(prompt, tokenizer) if fewest else ():
        count = _count_unknown(other, tokenizer)
        if count < fewest:
            best, fewest = other, count
        if not fewest:
            break
    return best


def _other_forms(prompt: str, tokenizer: Tokenizer) -> Iterator[str]:
    text = prompt
    unknown = tokenizer.unknown("\r\n")
    if "\r" in unknown:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    elif "\n" in unknown:
        text = text.replace("\r\n", "\r").replace("\n", "\r")
    yield text
    for form in _FORMS:
        yield normalize(form, text)


def _count_unknown(text: str, tokenizer: Tokenizer) -> int:
    unknown = set(tokenizer.unknown(text))
    return sum(character in unknown for character in text) if unknown else 0
