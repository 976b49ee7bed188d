"""Delete the folders that the pipeline wrote, for `make clean`; folders with other files stay."""

import sys
from pathlib import Path

from tinyllm.base.errors import TinyLLMError
from tinyllm.base.replacing import remove_out
from tinyllm.corpus.prepare import PREPARED
from tinyllm.formats.run import EXPORT
from tinyllm.model.checkpoint import CHECKPOINT
from tinyllm.tokens.encode import TOKENS

OUTS = {
    "data/prepared": PREPARED,
    "data/tokens": TOKENS,
    "models/checkpoint": CHECKPOINT,
    "models/export": EXPORT,
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
