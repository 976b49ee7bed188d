"""Writing the configured exports into one folder, verified before it appears."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from tinyllm.base.files import write_json, write_text
from tinyllm.base.outs import OutFolder
from tinyllm.base.replacing import new_directory
from tinyllm.formats.card import Card
from tinyllm.formats.config import ExportConfig
from tinyllm.formats.exporters import CARD, EXPORTERS, PARITY, Source
from tinyllm.formats.exporters.huggingface import FOLDER
from tinyllm.formats.gguf import check_gguf
from tinyllm.formats.parity import Native, Verdict, compare
from tinyllm.formats.requirements import what_is_possible
from tinyllm.formats.wording import TITLES
from tinyllm.inference.reader import one_thread

EXPORT = OutFolder(
    writer="tinyllm export",
    files=(PARITY, CARD, *(file for form in EXPORTERS.values() for file in form.files)),
    mark=CARD,
    sign=TITLES,
)


def export_checkpoint(
    config: ExportConfig,
    source: Source,
    out: Path,
    report: Callable[[str], None] = lambda _: None,
) -> list[Verdict]:
    """Write each format, compare it with the model in the programs that open it, write the card.

    Args:
        config: which formats and programs.
        source: the model, and held-out text to compare on.
        out: the folder to write; an earlier one is replaced.
        report: receives progress messages.

    Returns:
        The verdicts; `parity.json` holds them without measurements.

    Raises:
        ConfigError: `out` holds something else.
        TinyLLMError: a program is missing, the model cannot be written in a format, a float32
            export differs from the model, or the folder cannot be written to.
    """
    config = what_is_possible(config)
    if "gguf" in config.formats:
        check_gguf(source.checkpoint, config.gguf_precisions)
    with new_directory(out, EXPORT) as folder:
        for form in config.formats:
            report(f"writing {form}")
            EXPORTERS[form].write(config, source, folder)
        verdicts = []
        with one_thread():
            for verdict in verify(config, source, folder):
                report(str(verdict))
                verdicts.append(verdict)
        write_json(folder / PARITY, [verdict.facts() for verdict in verdicts])
        _write_cards(folder, Card(config, source, verdicts))
    return verdicts


def _write_cards(folder: Path, card: Card) -> None:
    """A card for people beside all formats, and for the Hub in the folder that goes there."""
    write_text(folder / CARD, card.text())
    for_hub = [place for place in folder.rglob(FOLDER) if place.is_dir()]
    for place in for_hub:
        write_text(place / CARD, card.text_for_hub())
    if (folder / "pyfunc").is_dir():
        # only this folder goes into the registry
        for name in (PARITY, CARD):
            shutil.copyfile(folder / name, folder / "pyfunc" / name)


def verify(config: ExportConfig, source: Source, folder: Path) -> Iterator[Verdict]:
    """Compare every export in `folder` with the model, in the configured programs."""
    length = source.checkpoint.model.config.sequence_length
    checkpoint = source.checkpoint
    native = Native(checkpoint.reader, source.held_out[:length], checkpoint.tokenizer.unknown_id)
    for form in (name for name in EXPORTERS if name in config.formats):
        for opened in EXPORTERS[form].read_back(config, source, folder):
            yield compare(opened, native)
