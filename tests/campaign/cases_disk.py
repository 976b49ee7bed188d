"""Cases: disks that are full, and folders that cannot be written to, at every stage."""

import shutil
from pathlib import Path

from tests.campaign.case import Mechanism, case
from tests.campaign.world import World, snapshot

BARRIER = Mechanism.BARRIER
_SMALL = ("--d-model", "32", "--num-heads", "1", "--num-layers", "1", "--d-ff", "64")
_STEPS = ("--max-steps", "20", "--warmup-steps", "0", "--threads", "1", "--no-progress")
_TRAINED = ("--checkpoint", "models/checkpoint", "--tokens", "data/tokens", "--no-tracking")
_STAGES = {
    "tokenize": ("--prepared", "data/prepared", "--out", "data/tokens"),
    "train": (
        *("--tokens", "data/tokens", "--out", "models/checkpoint", "--reports", "reports/train"),
        *(*_SMALL, *_STEPS, "--no-tracking"),
    ),
    "evaluate": (*_TRAINED, "--out", "reports/evaluate", "--sample-length", "20"),
    "export": (
        *(*_TRAINED, "--evaluation", "reports/evaluate", "--out", "models/export"),
        *("--formats", "huggingface", "--formats", "onnx"),
    ),
}
# a limit on the size of a file is a full disk at the byte where it is reached, in KiB
_LIMITS = {"tokenize": (4, 40), "train": (20, 60), "evaluate": (8, 16), "export": (8, 40)}
_OUTS = ("data/prepared", "data/tokens", "models/checkpoint", "reports")


def _register(stage: str) -> None:
    def check(world: World) -> None:
        place = world.outs(*_OUTS)
        before = snapshot(place)
        for limit in _LIMITS[stage]:
            words = " ".join(("tinyllm", stage, *_STAGES[stage]))
            world.shell(f"ulimit -f {limit}; {words}", cwd=place).told(code=1)
            after = snapshot(place)
            assert before.items() <= after.items()
            assert not [name for name in after.keys() - before.keys() if ".tinyllm" not in name]
        world.tinyllm(stage, *_STAGES[stage], cwd=place).succeeded()

    check.__name__ = f"disk_full_{stage}"
    holds = "a sentence, the old outs stay, no rubbish; with room again it runs"
    case(BARRIER, f"the disk is full at some moments of `{stage}`", holds, slow=True)(check)


for _stage in _STAGES:
    _register(_stage)


@case(BARRIER, "`.tinyllm` is a file, and a link to nowhere; `train`", "a sentence, at the start")
def state_is_a_file(world: World) -> None:
    """Working checkpoints could be written nowhere."""
    place = world.outs("data/tokens")
    words = [*_STAGES["train"]]
    (place / ".tinyllm").write_text("mine")
    world.tinyllm("train", *words, cwd=place).told(".tinyllm", code=1)
    assert (place / ".tinyllm").read_text() == "mine"
    (place / ".tinyllm").unlink()
    (place / ".tinyllm").symlink_to("/proc/nowhere")
    world.tinyllm("train", *words, cwd=place).told(".tinyllm", code=1)


@case(BARRIER, "working checkpoints of another program in `.tinyllm`", "skipped, the run is whole")
def state_is_foreign(world: World) -> None:
    """A folder by the run's name with files that only look like ours."""
    place = world.outs("data/tokens")
    world.tinyllm("train", *_STAGES["train"], cwd=place).succeeded()
    (folder,) = (place / ".tinyllm/training").iterdir()
    for name, text in (("step-00000005.json", "[]"), ("step-x.json", "{}"), ("step-7.json", "")):
        (folder / name).write_text(text)
    (folder / "step-00000009.json").mkdir()
    world.tinyllm("train", *_STAGES["train"], cwd=place).succeeded("Skipping")
    assert (folder / "step-x.json").read_text() == "{}"
    assert (folder / "step-00000009.json").is_dir()


@case(BARRIER, "the clock jumps back an hour in the middle of `train`", "the run ends as ever")
def clock_jumps(world: World) -> None:
    """Only durations that are shown come from a clock, and from one that does not jump."""
    place = world.outs("data/tokens")
    jump = (
        "import time, sys; real, calls = time.time, [0]\n"
        "def jumping():\n"
        "    calls[0] += 1\n"
        "    return real() + (-3600 if calls[0] % 3 else 7200)\n"
        "time.time = jumping\n"
        "from tinyllm.app.cli import main; sys.argv[0] = 'tinyllm'; main()"
    )
    words = [word for word in _STAGES["train"] if word != "--no-tracking"]
    env = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    result = world.run("python", "-c", jump, "train", *words, cwd=place, env=env)
    result.succeeded("Best at step")
    shutil.rmtree(place / ".tinyllm")
    assert Path(place / "models/checkpoint/model.safetensors").is_file()
