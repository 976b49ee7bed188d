"""Writing all the exports that are asked for into one folder."""

from pathlib import Path

from tinyllm.config.export import ExportConfig
from tinyllm.export.huggingface import write_huggingface
from tinyllm.export.pyfunc import write_pyfunc
from tinyllm.files import new_directory
from tinyllm.models.checkpoint import Checkpoint


def export_checkpoint(config: ExportConfig, checkpoint: Checkpoint, out: Path) -> None:
    """Write a folder for each format.

    Args:
        config: which formats.
        checkpoint: the model.
        out: the folder to write, replaced as a whole.

    Raises:
        TinyLLMError: the folder cannot be written to, or the disk is full.
    """
    with new_directory(out) as folder:
        # the MLflow model carries the Hugging Face form, so that is written in any case
        huggingface = folder / "huggingface"
        huggingface.mkdir()
        write_huggingface(checkpoint, huggingface)
        if "pyfunc" in config.formats:
            write_pyfunc(checkpoint, huggingface, folder / "pyfunc")
