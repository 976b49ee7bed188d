"""Which inputs of a search are worth keeping: the smallest that reach lines which no other does."""

import hashlib
import sys
from pathlib import Path
from types import CodeType

from tests.campaign.fuzz.target import CORPUS, ROOT, Target

_MOST, _LONGEST = 30, 2000
_OURS = f"{ROOT}/tinyllm/"


def keep_interesting(target: Target, found: Path) -> None:
    """Add the files of a folder to the target's corpus that reach new lines, the shortest first."""
    known = target.inputs()
    reached: set[tuple[str, int]] = set()
    for data in known.values():
        reached |= lines_of(target, data)
    kept = sum(not name.startswith("seed ") for name in known)
    for path in sorted(found.iterdir(), key=lambda file: (file.stat().st_size, file.name)):
        data = path.read_bytes()
        if kept >= _MOST or len(data) > _LONGEST:
            break
        if data in known.values():
            continue
        new = lines_of(target, data) - reached
        if new:
            reached |= new
            kept += 1
            place = CORPUS / target.name / hashlib.sha256(data).hexdigest()[:12]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)


def lines_of(target: Target, data: bytes) -> set[tuple[str, int]]:
    """The lines of the program that an input reaches."""
    lines: set[tuple[str, int]] = set()

    def trace(frame, event, _argument):
        code: CodeType = frame.f_code
        if not code.co_filename.startswith(_OURS):
            return None
        if event in ("call", "line"):
            lines.add((code.co_filename, frame.f_lineno))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        target.faults(data)
    finally:
        sys.settrace(before)
    return lines
