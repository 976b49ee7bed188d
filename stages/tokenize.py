"""Stage tokenize: splits to token files."""

from stages.pipeline import PREPARED, TOKENS, run_stage
from tinyllm.commands.tokenize import tokenize

SECTIONS = ("tokenize",)
PATHS = {"--prepared": PREPARED, "--out": TOKENS}

if __name__ == "__main__":
    run_stage(tokenize, SECTIONS, PATHS)
