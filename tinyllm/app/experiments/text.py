"""Whether a copy of the project holds the text that lies in it: git or DVC must know it."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tinyllm.app.experiments.copies import Snapshot, git_in
from tinyllm.base.environment import child_environment
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.text import plain
from tinyllm.corpus.config import PrepareConfig
from tinyllm.corpus.listing import list_corpus


def check_text(prepare: PrepareConfig, snapshot: Snapshot) -> None:
    """Check the corpus of the project; what lies elsewhere is read from there.

    Raises:
        TinyLLMError: a file is in no commit and unknown to DVC, or differs from what DVC keeps.
    """
    root = Path(snapshot.root).absolute()
    corpus, _ = list_corpus(prepare)
    paths = [Path(file.path) for file in corpus if not file.is_remote]
    own = {path.relative_to(root) for path in paths if path.is_relative_to(root)}
    if not own:
        return
    files = ("--literal-pathspecs", "ls-files", "-z", "--with-tree", snapshot.state)
    listed = git_in(root, *files, "--", prepare.source)
    unknown = own - {Path(name) for name in listed.split("\0")}
    kept = {path: _kept_in(path, root) for path in unknown}
    if missing := sorted(path for path, marks in kept.items() if not marks):
        raise TinyLLMError(
            f"Git does not track {plain(str(missing[0]))}, and experiments run in copies of what "
            f"it tracks; git add it."
        )
    if marks := {mark for found in kept.values() for mark in found}:
        _check_kept(sorted(marks), root)


def _kept_in(path: Path, root: Path) -> set[Path]:
    """The .dvc files of a path and of the folders around it."""
    around = (path, *path.parents)
    marks = {at.with_name(f"{at.name}.dvc") for at in around if at.name}
    return {mark for mark in marks if (root / mark).is_file()}


def _check_kept(marks: Iterable[Path], root: Path) -> None:
    command = [sys.executable, "-m", "dvc", "status", "--quiet", *map(str, marks)]
    changed = subprocess.run(  # noqa: S603 - a fixed command with files of the project
        command, cwd=root, env=child_environment(), stdin=subprocess.DEVNULL, check=False
    ).returncode
    if changed:
        names = " ".join(plain(str(mark.with_suffix(""))) for mark in marks)
        raise TinyLLMError(
            f"The text differs from what DVC keeps of it, and experiments run in copies; keep it "
            f"as it is now with: dvc add {names}"
        )
