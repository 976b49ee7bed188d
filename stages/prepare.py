"""Stage prepare: raw text to clean splits."""

from stages.pipeline import PREPARED, run_stage
from tinyllm.commands.prepare import prepare

SECTIONS = ("prepare",)
PATHS = {"--out": PREPARED}

if __name__ == "__main__":
    run_stage(prepare, SECTIONS, PATHS)
