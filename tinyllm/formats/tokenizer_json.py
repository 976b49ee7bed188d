"""The tokenizer in Hugging Face's `tokenizer.json` format, and back."""

from pathlib import Path
from typing import Any

from tinyllm.base.errors import TinyLLMError
from tinyllm.base.files import read_json
from tinyllm.tokens.byte_level import ByteTokenizer, spelled
from tinyllm.tokens.byte_pairs import BytePairTokenizer
from tinyllm.tokens.characters import UNKNOWN_ID, UNKNOWN_TOKEN, CharacterTokenizer
from tinyllm.tokens.tokenizer import Tokenizer

# as in GPT-2
END_OF_TEXT = "<|endoftext|>"
# UTF-8 has no such byte
_NO_BYTE = 255


def special_token(tokenizer: Tokenizer) -> tuple[int, str]:
    """A token that no text holds, and its name.

    Most programs demand tokens for padding, beginning and end. As in GPT-2, one stands for all of
    them: that of unknown characters, or that of a byte which no text in UTF-8 has.
    """
    unknown = tokenizer.unknown_id
    return (_NO_BYTE, END_OF_TEXT) if unknown is None else (unknown, UNKNOWN_TOKEN)


def spelled_tokens(tokenizer: ByteTokenizer) -> list[str]:
    """The tokens as GPT-2 spells them, the special one by its name."""
    names = [spelled(token) for token in tokenizer.token_bytes]
    special, name = special_token(tokenizer)
    names[special] = name
    return names


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
    number, _ = special_token(tokenizer)
    special = _special(tokenizer)
    roles = ["bos_token", "eos_token", "pad_token"]
    roles += ["unk_token"] if tokenizer.unknown_id is not None else []
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **dict.fromkeys(roles, special["content"]),
        "added_tokens_decoder": {str(number): special},
        # its name in a text is a text
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
        _added(tokenizer),
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
        "vocab": {name: number for number, name in enumerate(spelled_tokens(tokenizer))},
        "merges": [list(pair) for pair in tokenizer.spelled_merges()],
    }
    return _file(_added(tokenizer), byte_level, byte_level, model)


def _added(tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """What decoders leave out, such as padding."""
    number, _ = special_token(tokenizer)
    return [{"id": number, **_special(tokenizer)}]


def _special(tokenizer: Tokenizer) -> dict[str, Any]:
    _, name = special_token(tokenizer)
    return {
        "content": name,
        "lstrip": False,
        "normalized": False,
        "rstrip": False,
        "single_word": False,
        "special": True,
    }
