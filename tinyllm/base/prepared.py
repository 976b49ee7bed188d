"""The description of a prepared corpus, summary.json: what the prepare stage tells the others."""

from pathlib import Path

from pydantic import Field, NonNegativeInt, PositiveInt

from tinyllm.base.documents import Document, Sha256, read_document
from tinyllm.base.errors import TinyLLMError

SUMMARY = "summary.json"
REMEDY = "run the prepare stage again"


class TextShard(Document):
    """A file of UTF-8 text, and the SHA-256 of its bytes."""

    file: str = Field(pattern=r"^(train|val|test)-\d{5,}\.txt$")
    characters: PositiveInt
    bytes: PositiveInt
    sha256: Sha256


class TextFacts(Document):
    """The text of a split, in shards that follow each other.

    The fingerprint is the SHA-256 of the text if it is in one shard, else that of the shards'
    hashes; the alphabet has the count of each character, by code point.
    """

    characters: NonNegativeInt
    bytes: NonNegativeInt
    lines: NonNegativeInt
    fingerprint: Sha256
    alphabet: dict[str, PositiveInt]
    shards: list[TextShard]


class Summary(Document):
    """The three splits, and the number of files that they come from."""

    files: PositiveInt
    train: TextFacts
    val: TextFacts
    test: TextFacts

    def split(self, name: str) -> TextFacts:
        """The facts of `train`, `val` or `test`."""
        facts: TextFacts = getattr(self, name)
        return facts


def read_summary(folder: Path) -> Summary:
    """Read the description in a folder of the prepare stage.

    Raises:
        TinyLLMError: it is missing or damaged.
    """
    if not (folder / SUMMARY).exists():
        raise TinyLLMError(f"There is no {folder / SUMMARY}; run the prepare stage first.")
    return read_document(folder / SUMMARY, Summary, REMEDY)
