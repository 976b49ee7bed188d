"""Copies of files for delivery, which outlive what they were copied from.

The original may be gone by then: DVC deletes outs, and the copies of experiments. A small copy
stays, should the store be lost; of a large one the original is looked up again.
"""

import contextlib
import hashlib
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from tinyllm.base.files import sha256

# bytes up to which a copy stays after its delivery
_SMALL = 1_000_000


def make_private(folder: Path) -> None:
    """Create a folder, with its parents, that only its owner may read."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.suppress(PermissionError):
        folder.chmod(0o700)


def place_in_project(path: Path) -> str:
    """A path from the current folder on, so that it holds where the project is moved to."""
    whole, here = path.resolve(), Path.cwd().resolve()
    return str(whole.relative_to(here)) if whole.is_relative_to(here) else str(whole)


class KeptFiles:
    """The copies of one journal, each in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, path: Path) -> dict[str, str]:
        """Copy a file or folder; return what an event has to say to find it again."""
        place = self._new_place(path.name)
        if path.is_dir():
            shutil.copytree(path, place)
        else:
            shutil.copyfile(path, place)
        facts = {"origin": place_in_project(path), "digest": _digest(place)}
        return {"path": self._name(place), **facts}

    def keep_bytes(self, files: Mapping[str, bytes], name: str) -> dict[str, str]:
        """Write files into a folder `name`; return what an event has to say to find it again."""
        place = self._new_place(name)
        make_private(place)
        for file, data in files.items():
            (place / file).write_bytes(data)
        return {"path": self._name(place)}

    def find(self, facts: Mapping[str, str]) -> Path | None:
        """What was kept, or its original if that is unchanged; None if both are gone."""
        place = self._place(facts["path"])
        if place is not None and place.exists():
            return place
        origin = Path(facts.get("origin", ""))
        # the journals lie in .tinyllm/journal of the project
        original = self._folder.resolve().parent.parent.parent / origin
        inside = origin.parts and not origin.is_absolute() and ".." not in origin.parts
        if inside and original.exists() and _digest(original) == facts.get("digest"):
            return original
        return None

    def forget(self, facts: Mapping[str, str]) -> None:
        """Delete a large copy, of which the original is likely to be there."""
        place = self._place(facts["path"])
        if place is not None and "origin" in facts and _size(place) > _SMALL:
            shutil.rmtree(place.parent, ignore_errors=True)

    def _new_place(self, name: str) -> Path:
        folder = self._folder / uuid.uuid4().hex
        for each in (self._folder.parent, self._folder, folder):
            make_private(each)
        return folder / name

    def _name(self, place: Path) -> str:
        return str(place.relative_to(self._folder))

    def _place(self, name: str) -> Path | None:
        """Where a copy lies; an earlier version noted whole paths, a hostile line any."""
        parts = Path(name).parts[-2:]
        return None if len(parts) < 2 or ".." in parts else self._folder.joinpath(*parts)


def _files(path: Path) -> list[Path]:
    return sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]


def _size(path: Path) -> int:
    return sum(each.stat().st_size for each in _files(path)) if path.exists() else 0


def _digest(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of all in a folder."""
    if path.is_file():
        return sha256(path)
    lines = [f"{each.relative_to(path).as_posix()}\0{sha256(each)}\n" for each in _files(path)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
