"""The tokenizer in Hugging Face's `tokenizer.json` format, and back."""

from pathlib import Path
from typing import Any

from tinyllm.base.errors import TinyLLMError
from tinyllm.base.files import read_json
from tinyllm.tokens.byte_level import ByteTokenizer, spelled
from tinyllm.tokens.byte_pairs import BytePairTokenizer
from tinyllm.tokens.characters import UNKNOWN_ID, UNKNOWN_TOKEN, CharacterTokenizer
from tinyllm.tokens.tokenizer import Tokenizer

# Most programs demand tokens for padding, beginning and end. As in GPT-2, one token stands for all
# of them: the unknown character, or the byte 0, which no text holds
FILLER_ID = 0


def huggingface_tokenizer(tokenizer: Tokenizer) -> dict[str, Any]:
    """The `tokenizer.json` of a tokenizer."""
    match tokenizer:
        case CharacterTokenizer():
            return _of_characters(tokenizer)
        case ByteTokenizer():
            return _of_bytes(tokenizer)
        case _:
            raise TypeError(f"no tokenizer.json is known for a {type(tokenizer).__name__}")


def huggingface_tokenizer_config(tokenizer: Tokenizer, sequence_length: int) -> dict[str, Any]:
    """The `tokenizer_config.json` that makes transformers use `tokenizer.json` unchanged.

    Transformers never finds the special token in a text, not even in one that spells it, as
    programs do that read nothing but `tokenizer.json`.
    """
    special = _special(tokenizer)
    roles = ["bos_token", "eos_token", "pad_token"]
    roles += ["unk_token"] if tokenizer.unknown_id is not None else []
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **dict.fromkeys(roles, special["content"]),
        "added_tokens_decoder": {str(FILLER_ID): special},
        # "<unk>" in a text is five characters
        "split_special_tokens": True,
        # the next token is the last one's
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": sequence_length,
    }


def tokenizer_from_huggingface(path: Path) -> Tokenizer:
    """Read a `tokenizer.json` that `huggingface_tokenizer` made.

    Raises:
        TinyLLMError: the file is missing or damaged, or no tokenizer of this program wrote it.
    """
    description = read_json(path)
    try:
        tokenizer = _read(description["model"])
        whole: bool = description["model"] == huggingface_tokenizer(tokenizer)["model"]
    except (KeyError, TypeError, ValueError):
        whole = False
    if not whole:
        raise TinyLLMError(f"{path} is not a tokenizer that this program wrote.")
    return tokenizer


def _read(model: dict[str, Any]) -> Tokenizer:
    if model["type"] == "WordLevel":
        return CharacterTokenizer("".join(dict(model["vocab"]).keys() - {UNKNOWN_TOKEN}))
    merges = [(first, second) for first, second in model["merges"]]
    return BytePairTokenizer(merges) if merges else ByteTokenizer()


def _file(
    added_tokens: list[Any], splitting: Any, joining: Any, model: dict[str, Any]
) -> dict[str, Any]:
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added_tokens,
        "normalizer": None,
        "pre_tokenizer": splitting,
        "post_processor": None,
        "decoder": joining,
        "model": model,
    }


def _of_characters(tokenizer: CharacterTokenizer) -> dict[str, Any]:
    """Splits text into characters and joins them without spaces."""
    vocabulary = {UNKNOWN_TOKEN: UNKNOWN_ID}
    vocabulary |= {char: token for token, char in enumerate(tokenizer.alphabet, start=1)}
    return _file(
        # so that decoders leave padding out
        [{"id": UNKNOWN_ID, **_special(tokenizer)}],
        {
            "type": "Split",
            "pattern": {"Regex": r"[\s\S]"},
            "behavior": "Isolated",
            "invert": False,
        },
        {"type": "Fuse"},
        {"type": "WordLevel", "vocab": vocabulary, "unk_token": UNKNOWN_TOKEN},
    )


def _of_bytes(tokenizer: ByteTokenizer) -> dict[str, Any]:
    """Splits as GPT-2 does, and then joins bytes."""
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    }
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": {spelled(token): id_ for id_, token in enumerate(tokenizer.token_bytes)},
        "merges": [list(pair) for pair in tokenizer.spelled_merges()],
    }
    # a special token would be found in texts that spell it, by programs that read nothing else
    return _file([], byte_level, byte_level, model)


def _special(tokenizer: Tokenizer) -> dict[str, Any]:
    name = UNKNOWN_TOKEN if tokenizer.unknown_id is not None else spelled(bytes([FILLER_ID]))
    return {
        "content": name,
        "lstrip": False,
        "normalized": False,
        "rstrip": False,
        "single_word": False,
        "special": True,
    }
