"""Stage evaluate: a trained model to metrics, plots and samples."""

from tinyllm.base.command import run_stage
from tinyllm.evaluation.command import evaluate

PATHS = {
    "--checkpoint": "models/checkpoint",
    "--tokens": "data/tokens",
    "--history": "reports/train/history.csv",
    "--out": "reports/evaluate",
}

if __name__ == "__main__":
    run_stage(evaluate, PATHS)
