"""What a params.yaml says of one text and what holds for no other: prompts, licence, languages."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinyllm.base.section import Section
from tinyllm.tokens.tokenizer import load_tokenizer
from tinyllm.tokens.windows import load_token_data

_PROMPTS = 3
# tokens of the validation split that prompts are taken from
_READ = 50_000
# characters of a prompt: of about two words, or of writing that has no spaces
_LONGEST, _WITHOUT_SPACES = 24, 6


def sections_for(tokens: Path, sections: Mapping[str, Any]) -> dict[str, Section]:
    """The sections evaluate and export for another text than the one they were written for.

    Args:
        tokens: the folder of the tokenize stage of the text.
        sections: as they are.
    """
    new: dict[str, dict[str, Any]] = {
        "evaluate": {"prompts": prompts_from(tokens)},
        "export": {"license": "", "languages": []},
    }
    return {
        name: type(sections[name]).parse(sections[name].model_dump() | values)
        for name, values in new.items()
    }


def prompts_from(tokens: Path) -> list[str]:
    """Beginnings of lines of the validation split, evenly spread; of all of it if it has none."""
    val = load_token_data(tokens).val
    text = load_tokenizer(tokens / "tokenizer.json").decode(val[:_READ].tolist())
    # the first and the last line may be cut
    beginnings = [_beginning(line.strip()) for line in text.splitlines()[1:-1]]
    distinct = list(dict.fromkeys(one for one in beginnings if one))
    distinct = distinct or [text.strip()[:_WITHOUT_SPACES]]
    count = min(_PROMPTS, len(distinct))
    return [distinct[len(distinct) * index // count] for index in range(count)]


def _beginning(line: str) -> str:
    """The first two words of a line and the space behind, or less; empty for an unfit line."""
    if "\N{REPLACEMENT CHARACTER}" in line:
        return ""
    words = line.split(" ")
    beginning = " ".join(words[:2]) + " "
    if len(words) > 2 and len(beginning) <= _LONGEST:
        return beginning
    return line[:_WITHOUT_SPACES] if len(line) >= 2 * _WITHOUT_SPACES else ""
