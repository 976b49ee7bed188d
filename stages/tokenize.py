"""Stage tokenize: splits to token files."""

from tinyllm.base.command import run_stage
from tinyllm.tokens.command import tokenize

PATHS = {"--prepared": "data/prepared", "--out": "data/tokens"}

if __name__ == "__main__":
    run_stage(tokenize, PATHS)
