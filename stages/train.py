"""Stage train: token files to a trained model."""

from tinyllm.base.command import run_stage
from tinyllm.training.command import train

PATHS = {"--tokens": "data/tokens", "--out": "models/checkpoint", "--reports": "reports/train"}

if __name__ == "__main__":
    run_stage(train, PATHS)
