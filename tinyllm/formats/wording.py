"""What the exports say of a model's tokens, by the kind of its tokenizer."""

from typing import TYPE_CHECKING

from tinyllm.tokens.byte_pairs import BytePairTokenizer
from tinyllm.tokens.characters import CharacterTokenizer

if TYPE_CHECKING:
    from tinyllm.inference.checkpoint import Checkpoint
    from tinyllm.tokens.tokenizer import Tokenizer

# what the model is, by what one of its tokens is
_LEVELS = {"character": "character-level", "byte": "byte-level", "token": "subword"}
# what a card may begin with
TITLES = tuple(f"# A {level} language model\n".encode() for level in _LEVELS.values())


def level(tokenizer: "Tokenizer") -> str:
    """What a language model of such tokens is called."""
    return _LEVELS[tokenizer.unit]


def describe(checkpoint: "Checkpoint") -> str:
    """The model in a sentence."""
    characters = checkpoint.training.get("data", {}).get("train", {}).get("characters")
    text = f", trained on {characters:,} characters" if isinstance(characters, int) else ""
    parameters = f"{checkpoint.model.num_parameters():,} parameters"
    return f"A {level(checkpoint.tokenizer)} language model of {parameters}{text}."


def example_prompt(tokenizer: "Tokenizer") -> str:
    """A few letters that the model knows."""
    if not isinstance(tokenizer, CharacterTokenizer):
        return "The"
    letters = [char for char in tokenizer.alphabet if char.isalpha()]
    return "".join(letters[:3]) or tokenizer.alphabet[:1]


def list_tokens(tokenizer: "Tokenizer") -> str:
    """How many tokens of which kind."""
    match tokenizer:
        case CharacterTokenizer():
            return f"{len(tokenizer.alphabet)} characters and one for all others"
        case BytePairTokenizer():
            return f"{tokenizer.vocab_size:,}: the bytes of UTF-8, and byte pairs as in GPT-2"
        case _:
            return "the 256 bytes of UTF-8"


def known_characters(tokenizer: "Tokenizer") -> str:
    """Which texts the model can read and write, as an item of a list in Markdown."""
    if not isinstance(tokenizer, CharacterTokenizer):
        return "It reads every text. It may write bytes that are none, which appear as U+FFFD."
    alphabet = "".join(char for char in tokenizer.alphabet if char.isprintable())
    return (
        "It knows these characters, and reads every other one as unknown; it never writes that:\n"
        f"  ``{alphabet}``"
    )
