"""Stage export: a trained model to the forms that other programs open."""

from stages.pipeline import CHECKPOINT, EVALUATION, EXPORT, TOKENS, run_stage
from tinyllm.commands.export import export

SECTIONS = ("export", "numerics", "tracking")
PATHS = {
    "--checkpoint": CHECKPOINT,
    "--tokens": TOKENS,
    "--evaluation": EVALUATION,
    "--out": EXPORT,
}

if __name__ == "__main__":
    run_stage(export, SECTIONS, PATHS)
