"""The tokenizer as llama.cpp takes it.

Of its own kinds `t5` fits characters best: it keeps all but the space, which it spells U+2581. It
still differs from our tokenizer in two ways: a run of unknown characters becomes one unknown token,
and U+2581 in a text counts as a space. Bytes and byte pairs are GPT-2's.
"""

from typing import TYPE_CHECKING

from tinyllm.base.errors import TinyLLMError
from tinyllm.formats.tokenizer_json import END_OF_TEXT, special_token, spelled_tokens
from tinyllm.tokens.byte_level import ByteTokenizer, spelled
from tinyllm.tokens.characters import UNKNOWN_ID, CharacterTokenizer
from tinyllm.tokens.tokenizer import Tokenizer

if TYPE_CHECKING:
    from gguf import GGUFWriter

_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
# llama.cpp demands a list of merges, and files cannot hold an empty one; no text holds this pair
_NO_MERGE = spelled(b"\xc0"), spelled(b"\xc0")


def check_tokenizer(tokenizer: Tokenizer) -> None:
    """Check that llama.cpp can read texts as a tokenizer does.

    Raises:
        TinyLLMError: it cannot.
    """
    if isinstance(tokenizer, CharacterTokenizer) and _SPACE in tokenizer.alphabet:
        raise TinyLLMError(
            "export.formats holds gguf, but the alphabet holds U+2581, which llama.cpp takes for "
            "a space; take that character out of the corpus or leave gguf out."
        )


def add_tokenizer(writer: "GGUFWriter", tokenizer: Tokenizer) -> None:
    """Write all that llama.cpp needs to know of a tokenizer."""
    match tokenizer:
        case CharacterTokenizer():
            _add_characters(writer, tokenizer)
        case ByteTokenizer():
            _add_bytes(writer, tokenizer)
        case _:
            raise TypeError(f"llama.cpp has nothing like a {type(tokenizer).__name__}")
    # texts have no begin or end token; without these two, some other token would end one
    special, _ = special_token(tokenizer)
    writer.add_bos_token_id(special)
    writer.add_eos_token_id(special)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)


def gguf_vocabulary(tokenizer: Tokenizer) -> list[str]:
    """The tokens as llama.cpp spells them."""
    match tokenizer:
        case CharacterTokenizer():
            # of the unknown one it must know that it ends texts
            return [END_OF_TEXT, *tokenizer.alphabet.replace(" ", _SPACE)]
        case ByteTokenizer():
            return spelled_tokens(tokenizer)
        case _:
            raise TypeError(f"llama.cpp has nothing like a {type(tokenizer).__name__}")


def gguf_merges(tokenizer: Tokenizer) -> list[str]:
    """The pairs that are joined as llama.cpp spells them; none of characters."""
    if not isinstance(tokenizer, ByteTokenizer):
        return []
    return [" ".join(pair) for pair in tokenizer.spelled_merges() or [_NO_MERGE]]


def _add_characters(writer: "GGUFWriter", tokenizer: CharacterTokenizer) -> None:
    from gguf import TokenType  # noqa: PLC0415 - an optional dependency

    characters = len(tokenizer.alphabet)
    writer.add_tokenizer_model("t5")
    writer.add_token_list(gguf_vocabulary(tokenizer))
    writer.add_token_scores([0.0] + [-1.0] * characters)
    writer.add_token_types([TokenType.CONTROL] + [TokenType.NORMAL] * characters)
    writer.add_unk_token_id(UNKNOWN_ID)
    writer.add_remove_extra_whitespaces(False)


def _add_bytes(writer: "GGUFWriter", tokenizer: ByteTokenizer) -> None:
    from gguf import TokenType  # noqa: PLC0415 - see above

    writer.add_tokenizer_model("gpt2")
    # the pattern that splits words
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(gguf_vocabulary(tokenizer))
    types = [TokenType.NORMAL] * tokenizer.vocab_size
    special, _ = special_token(tokenizer)
    types[special] = TokenType.CONTROL
    writer.add_token_types(types)
    writer.add_token_merges(gguf_merges(tokenizer))
