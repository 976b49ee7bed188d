"""Prompts as tokens: in the form in which the model knows their characters."""

import logging
from collections.abc import Iterator, Sequence

from tinyllm.base.text import normalize
from tinyllm.tokens.tokenizer import CharacterTokenizer

_log = logging.getLogger(__name__)
_FORMS = ("NFC", "NFD", "NFKC", "NFKD")
_NAMED = 10


def encode_prompts(tokenizer: CharacterTokenizer, prompts: Sequence[str]) -> list[list[int]]:
    """The tokens of each prompt, at least one; unknown characters are warned of in one line."""
    known = frozenset(tokenizer.alphabet)
    texts = [in_known_form(prompt, known) for prompt in prompts]
    unknown = sorted({character for text in texts for character in set(text) - known})
    if unknown:
        shown = " ".join(map(repr, unknown[:_NAMED]))
        more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
        _log.warning("The model has never seen %s%s in training; it reads <unk>.", shown, more)
    # without a prompt the text begins as if at the start of a line
    return [tokenizer.encode(text or "\n").tolist() for text in texts]


def in_known_form(prompt: str, known: frozenset[str]) -> str:
    """The prompt in the form that has the fewest unknown characters.

    The corpus was normalized when it was prepared: its line breaks, and the form of its accents. A
    checkpoint knows the result, its alphabet, but not how it came about; so of the line breaks and
    forms that Unicode has, the first that fits best is taken, and a prompt that is known as it is
    stays as it is.

    Args:
        prompt: any text.
        known: the characters of the alphabet.
    """
    best, fewest = prompt, _count_unknown(prompt, known)
    for other in _other_forms(prompt, known) if fewest else ():
        count = _count_unknown(other, known)
        if count < fewest:
            best, fewest = other, count
        if not fewest:
            break
    return best


def _other_forms(prompt: str, known: frozenset[str]) -> Iterator[str]:
    text = prompt
    if "\r" not in known:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    elif "\n" not in known:
        text = text.replace("\r\n", "\r").replace("\n", "\r")
    yield text
    for form in _FORMS:
        yield normalize(form, text)


def _count_unknown(text: str, known: frozenset[str]) -> int:
    return 0 if set(text) <= known else sum(character not in known for character in text)
