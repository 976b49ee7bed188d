"""Cases: nothing of the user's is deleted."""

import subprocess
from pathlib import Path

from tests.campaign.case import Mechanism, case
from tests.campaign.world import World, snapshot

KEEP = Mechanism.KEEP
_CHECKPOINT = ("--checkpoint", "models/checkpoint", "--tokens", "data/tokens", "--no-tracking")
_TRAIN = ("train", "--tokens", "data/tokens", "--max-steps", "1", "--no-tracking", "--no-progress")
_TOKENIZE = ("tokenize", "--prepared", "data/prepared")
_EVALUATE = ("evaluate", *_CHECKPOINT)
_PREPARE = ("prepare", "--source", "corpus.txt")
_PLAYGROUND = ("playground", "--model", "models/checkpoint", "--print-path")

# what a person who mistypes a place may do: name -> the command, all of it in a folder of notes
_MISTYPED = {
    "out_is_here": (*_TOKENIZE, "--out", "."),
    "out_is_here_in_full": (*_TOKENIZE, "--out", "{here}"),
    "out_is_here_with_slash": (*_TOKENIZE, "--out", "./"),
    "out_is_above": (*_TOKENIZE, "--out", ".."),
    "out_is_home": (*_TOKENIZE, "--out", "{home}"),
    "out_is_root": (*_TOKENIZE, "--out", "/"),
    "out_is_notes": (*_TOKENIZE, "--out", "notes"),
    "out_is_link_to_notes": (*_TOKENIZE, "--out", "link"),
    "out_is_a_repository": (*_TOKENIZE, "--out", "repository"),
    "out_is_git": (*_TOKENIZE, "--out", ".git"),
    "out_is_a_file": (*_TOKENIZE, "--out", "notes/diary.txt"),
    "out_below_a_file": (*_TOKENIZE, "--out", "notes/diary.txt/tokens"),
    "out_is_the_input": (*_TOKENIZE, "--out", "data/prepared"),
    "out_in_the_input": (*_TOKENIZE, "--out", "data/prepared/tokens"),
    "out_holds_the_input": (*_TOKENIZE, "--out", "data"),
    "out_is_another_stage": (*_TOKENIZE, "--out", "models/checkpoint"),
    "out_through_dots": (*_TOKENIZE, "--out", "notes/../notes"),
    "prepare_here": (*_PREPARE, "--out", "."),
    "prepare_over_corpus": (*_PREPARE, "--out", "corpus.txt"),
    "prepare_over_notes": (*_PREPARE, "--out", "notes"),
    "evaluate_here": (*_EVALUATE, "--out", "."),
    "evaluate_over_checkpoint": (*_EVALUATE, "--out", "models/checkpoint"),
    "train_reports_here": (*_TRAIN, "--out", "m", "--reports", "."),
    "train_reports_over_notes": (*_TRAIN, "--out", "m", "--reports", "notes"),
    "train_out_is_reports": (*_TRAIN, "--out", "m", "--reports", "m"),
    "train_reports_in_out": (*_TRAIN, "--out", "m", "--reports", "m/reports"),
    "train_out_is_tokens": (*_TRAIN, "--out", "data/tokens", "--reports", "r"),
    "playground_over_notes": (*_PLAYGROUND, "--out", "notes/diary.txt"),
    "playground_over_model": (*_PLAYGROUND, "--out", "models/checkpoint/config.json"),
}


def _house(world: World) -> Path:
    """Outs beside notes, a link, a repository and a corpus of the user's."""
    place = world.outs("data/prepared", "data/tokens", "models/checkpoint")
    (place / "notes").mkdir()
    (place / "notes/diary.txt").write_text("Dear diary")
    (place / "link").symlink_to("notes")
    (place / "corpus.txt").write_text("What news, my lord?\n" * 500)
    for repository in (place, place / "repository"):
        subprocess.run(["git", "init", "--quiet", str(repository)], check=True)
    (place / "repository/code.py").write_text("print()")
    return place


def _register(name: str, command: tuple[str, ...]) -> None:
    def check(world: World) -> None:
        place = _house(world)
        before = snapshot(world.folder)
        words = [word.format(here=place, home=world.folder) for word in command]
        world.tinyllm(*words, cwd=place, env={"HOME": str(world.folder)}).told()
        # libraries may have put a cache there
        assert before.items() <= snapshot(world.folder).items()

    check.__name__ = name
    given = " ".join(command).replace("{here}", '"$PWD"').replace("{home}", '"$HOME"')
    case(KEEP, f"`{given}`", "refused, every file is still there")(check)


for _name, _command in _MISTYPED.items():
    _register(_name, _command)


@case(KEEP, "`make clean` where somebody put notes into models/checkpoint", "the notes stay")
def clean_with_notes(world: World) -> None:
    """Only folders that hold nothing else are removed."""
    place = world.outs("data/tokens", "models/checkpoint")
    (place / "models/checkpoint/notes.txt").write_text("mine")
    world.run("python", "-m", "stages.clean", cwd=place, env=_code()).told("notes.txt", code=1)
    assert (place / "models/checkpoint/notes.txt").read_text() == "mine"
    assert not (place / "data/tokens").exists()


@case(KEEP, "an out that is a link to a folder elsewhere", "the folder is replaced, the link stays")
def out_is_a_link(world: World) -> None:
    """People keep large outs on another disk."""
    place = world.outs("data/prepared")
    (world.folder / "disk").mkdir()
    (place / "tokens").symlink_to(world.folder / "disk")
    for _ in range(2):
        world.tinyllm(*_TOKENIZE, "--out", "tokens", cwd=place).succeeded()
    assert (place / "tokens").is_symlink()
    assert (world.folder / "disk/meta.json").is_file()


@case(KEEP, "an out where nothing can be written", "a sentence, nothing is lost")
def out_write_protected(world: World) -> None:
    """Not even root may write there."""
    place = world.outs("data/prepared")
    before = snapshot(place)
    world.tinyllm(*_TOKENIZE, "--out", "/proc/tokens", cwd=place).told("/proc/tokens")
    assert snapshot(place) == before


@case(KEEP, "the disk is full while tokens are written", "a sentence, the old tokens stay")
def out_disk_full(world: World) -> None:
    """A limit on the size of files is a full disk to a program."""
    place = world.outs("data/prepared", "data/tokens")
    before = snapshot(place)
    line = "ulimit -f 2; tinyllm tokenize --prepared data/prepared --out data/tokens"
    world.shell(line, cwd=place).told("Cannot write")
    assert snapshot(place) == before


def _code() -> dict[str, str | None]:
    return {"PYTHONPATH": str(Path(__file__).parent.parent.parent)}
