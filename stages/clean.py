"""Delete the folders that the pipeline made, as `make clean` does; anything else in them stays."""

import sys
from pathlib import Path

from stages.pipeline import CHECKPOINT, EXPORT, PREPARED, TOKENS
from tinyllm.corpus import prepare
from tinyllm.errors import TinyLLMError
from tinyllm.export import run
from tinyllm.models import checkpoint
from tinyllm.replacing import remove_out
from tinyllm.tokenization import encode

OUTS = {
    PREPARED: prepare.PREPARED,
    TOKENS: encode.TOKENS,
    CHECKPOINT: checkpoint.CHECKPOINT,
    EXPORT: run.EXPORT,
}

if __name__ == "__main__":
    failed = False
    for path, kind in OUTS.items():
        try:
            remove_out(Path(path), kind)
        except TinyLLMError as error:
            print(f"Error: {error}", file=sys.stderr)
            failed = True
    sys.exit(failed)
