"""Stage train: token files to a trained model."""

from stages.pipeline import CHECKPOINT, TOKENS, TRAIN_REPORTS, run_stage
from tinyllm.commands.train import train

SECTIONS = ("model", "train", "numerics", "runtime", "tracking")
PATHS = {"--tokens": TOKENS, "--out": CHECKPOINT, "--reports": TRAIN_REPORTS}

if __name__ == "__main__":
    run_stage(train, SECTIONS, PATHS)
