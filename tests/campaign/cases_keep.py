"""Cases: nothing of the user's is deleted."""

from tests.campaign.case import Mechanism, case
from tests.campaign.world import World, snapshot

KEEP = Mechanism.KEEP


@case(KEEP, "`tokenize --out .` in a folder of notes", "refused, every file is still there")
def out_is_here(world: World) -> None:
    """The current folder is never replaced."""
    place = world.outs()
    (place / "notes.txt").write_text("mine")
    before = snapshot(place)
    world.tinyllm("tokenize", "--prepared", "data/prepared", "--out", ".", cwd=place).told("--out")
    assert snapshot(place) == before
