"""The tokenizer in Hugging Face's `tokenizer.json` format, and back."""

from pathlib import Path
from typing import Any

from tinyllm.base.errors import TinyLLMError
from tinyllm.base.files import read_json
from tinyllm.tokens.tokenizer import UNKNOWN_ID, UNKNOWN_TOKEN, CharacterTokenizer

_SPECIAL = {
    "content": UNKNOWN_TOKEN,
    "lstrip": False,
    "normalized": False,
    "rstrip": False,
    "single_word": False,
    "special": True,
}


def huggingface_tokenizer(tokenizer: CharacterTokenizer) -> dict[str, Any]:
    """A `tokenizer.json` that splits text into characters and joins them without spaces."""
    vocabulary = {UNKNOWN_TOKEN: UNKNOWN_ID}
    vocabulary |= {char: token for token, char in enumerate(tokenizer.alphabet, start=1)}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        # so that decoders leave padding out
        "added_tokens": [{"id": UNKNOWN_ID, **_SPECIAL}],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"Regex": r"[\s\S]"},
            "behavior": "Isolated",
            "invert": False,
        },
        "post_processor": None,
        "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": UNKNOWN_TOKEN},
    }


def huggingface_tokenizer_config(sequence_length: int) -> dict[str, Any]:
    """The `tokenizer_config.json` that makes transformers use `tokenizer.json` unchanged.

    Most programs demand tokens for padding, beginning and end. As in GPT-2, one token, the unknown
    one, stands for all of them; transformers never finds it in a text, not even in one that spells
    it, as programs do that read nothing but `tokenizer.json`.
    """
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), UNKNOWN_TOKEN),
        "added_tokens_decoder": {str(UNKNOWN_ID): _SPECIAL},
        # "<unk>" in a text is five characters
        "split_special_tokens": True,
        # the next character is the last one's
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": sequence_length,
    }


def tokenizer_from_huggingface(path: Path) -> CharacterTokenizer:
    """Read a `tokenizer.json` that `huggingface_tokenizer` made.

    Raises:
        TinyLLMError: the file is missing, damaged, or holds tokens that are not characters.
    """
    description = read_json(path)
    try:
        vocabulary = dict(description["model"]["vocab"])
        tokenizer = CharacterTokenizer("".join(vocabulary.keys() - {UNKNOWN_TOKEN}))
    except (KeyError, TypeError, ValueError):
        vocabulary, tokenizer = {}, CharacterTokenizer()
    if huggingface_tokenizer(tokenizer)["model"]["vocab"] != vocabulary:
        raise TinyLLMError(f"{path} is not a tokenizer that this program wrote.")
    return tokenizer
