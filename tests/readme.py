"""The code blocks of the README."""

import re
from dataclasses import dataclass

from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Block:
    """A code block; the language is empty where the block does not name one."""

    language: str
    text: str


def blocks() -> list[Block]:
    """All code blocks, in order."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [Block(language, text) for language, text in found]


def runnable_blocks() -> list[Block]:
    """Those that are Python or begin with a command of the program."""
    return [b for b in blocks() if b.language == "python" or b.text.startswith("tinyllm ")]
