"""Stage export: a trained model to formats that other programs open."""

from tinyllm.base.command import run_stage
from tinyllm.formats.command import export

PATHS = {
    "--checkpoint": "models/checkpoint",
    "--tokens": "data/tokens",
    "--evaluation": "reports/evaluate",
    "--out": "models/export",
}

if __name__ == "__main__":
    run_stage(export, PATHS)
