"""Stage evaluate: a trained model to metrics, pictures and samples."""

from stages.pipeline import CHECKPOINT, EVALUATION, TOKENS, run_stage
from tinyllm.commands.evaluate import evaluate

SECTIONS = ("evaluate", "numerics", "tracking")
PATHS = {"--checkpoint": CHECKPOINT, "--tokens": TOKENS, "--out": EVALUATION}

if __name__ == "__main__":
    run_stage(evaluate, SECTIONS, PATHS)
