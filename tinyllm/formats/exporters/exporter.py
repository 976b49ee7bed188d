"""What an export format is."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tinyllm.formats.config import ExportConfig

if TYPE_CHECKING:
    from tinyllm.formats.parity import Opened
    from tinyllm.inference.checkpoint import Checkpoint

PARITY, CARD = "parity.json", "README.md"


@dataclass(frozen=True)
class Source:
    """The model to export, tokens of a held-out split, and its metrics on that split."""

    checkpoint: "Checkpoint"
    held_out: list[int]
    metrics: dict[str, Any] = field(default_factory=dict)


class Exporter(Protocol):
    """One export format."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The packages that write it."""

    @property
    def opened_by(self) -> str | None:
        """The program of `export.verify_with` that reads it back, if one does."""

    @property
    def files(self) -> tuple[str, ...]:
        """Patterns of everything that it writes, or once wrote, in the export folder."""

    @property
    def usage(self) -> str:
        """How to run it, in Markdown, for the card.

        `{here}` is the folder `huggingface` as seen from the card, `{prompt}` and `{quoted}` an
        example, `{window}` the number of tokens that the model sees, `{name}` the model's,
        `{special}` the name of the token that no text holds.
        """

    def write(self, config: ExportConfig, source: Source, folder: Path) -> None:
        """Write the format into the export folder.

        Raises:
            TinyLLMError: the model cannot be written in it.
        """

    def read_back(self, config: ExportConfig, source: Source, folder: Path) -> Iterator["Opened"]:
        """Open the export in each program of `config.verify_with` that reads it.

        Raises:
            TinyLLMError: the export differs from the model.
        """
