"""Stage prepare: raw text to clean splits."""

from tinyllm.base.command import run_stage
from tinyllm.corpus.command import prepare

PATHS = {"--out": "data/prepared"}

if __name__ == "__main__":
    run_stage(prepare, PATHS)
