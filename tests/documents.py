"""The code blocks of README and docs, and what the tests do with them."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
_BLOCK = re.compile(
    r"(?:^<!-- not run here: (?P<excuse>[^\n]+) -->\n)?"
    r"^```(?P<language>\w*)(?: (?P<name>\S+))?\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A code block: its document, language and name, and why it is not run, if it is not."""

    document: str
    language: str
    name: str
    text: str
    excuse: str

    def __str__(self) -> str:
        return f"{self.document}: {self.text.splitlines()[0]}"


def read_blocks(path: Path) -> list[Block]:
    """All code blocks of a document, in order."""
    found = _BLOCK.finditer(path.read_text(encoding="utf-8"))
    name = path.relative_to(ROOT).as_posix()
    parts = ("language", "name", "text", "excuse")
    return [Block(name, *(match[part] or "" for part in parts)) for match in found]


BLOCKS = [block for path in DOCUMENTS for block in read_blocks(path)]
# those of docs/server.md and docs/serving.md have names; tests/server and tests/clients run them
RUN_HERE = [
    block
    for block in BLOCKS
    if block.language in ("python", "bash") and not block.excuse and not block.name
]
