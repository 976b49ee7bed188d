"""A page that runs the model in a browser."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tinyllm.formats.config import ExportConfig
from tinyllm.formats.exporters.exporter import Source

if TYPE_CHECKING:
    from tinyllm.formats.parity import Opened

PLAYGROUND = "playground.html"


class Playground:
    """See `Exporter`."""

    needs: tuple[str, ...] = ()
    opened_by = None
    files = (PLAYGROUND,)
    usage = """\
### A browser

Open `playground.html`: the model runs in the page, without a network or a server.
"""

    def write(self, config: ExportConfig, source: Source, folder: Path) -> None:
        """See `Exporter`."""
        from tinyllm.formats.playground import write_playground

        write_playground(source.checkpoint, folder / PLAYGROUND, "")

    def read_back(
        self,
        config: ExportConfig,
        source: Source,
        folder: Path,
    ) -> Iterator["Opened"]:
        """Yield nothing: only a browser opens it."""
        yield from ()
