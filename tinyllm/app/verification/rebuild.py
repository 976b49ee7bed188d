"""Runs the pipeline again in a clean clone that shares nothing with this working tree."""

import collections
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tinyllm.app.repository import find_repository
from tinyllm.app.tracking.lineage import git
from tinyllm.base.environment import child_environment
from tinyllm.base.errors import TinyLLMError

# variables that would tie the rebuilt pipeline to the original's experiment, store or repository
_TIES = ("DVC_", "MLFLOW_", "GIT_", "TINYLLM_")
# what the user's configuration of git may not decide in a clone: newlines, filters, hooks
_CLONE = ["git", "clone", "--quiet", "--no-checkout", "--template=", "--config=core.autocrlf=false"]
_CLONE += [f"--config=core.{name}={os.devnull}" for name in ("attributesFile", "hooksPath")]
# DVC's settings of the user and of the machine, such as another place or kind of cache
_DVC_PLACES = ("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR", "DVC_SITE_CACHE_DIR")
# lines of DVC and of the train stage that say how far it is
_STAGE = re.compile(r"Running stage '(.+)'")
_PROGRESS = re.compile(r"step \d+: |\d+ more steps take ")


@contextlib.contextmanager
def clean_clone(root: Path, commit: str, patch: bytes) -> Iterator[Path]:
    """Yield the project in a temporary clone of its repository at a commit, with a patch applied.

    Raises:
        TinyLLMError: there is no repository, the commit is not in it, the project is not in the
            commit, or the patch does not apply.
    """
    repository = find_repository(root)
    with tempfile.TemporaryDirectory(prefix="tinyllm-") as folder:
        clone = Path(folder).resolve() / "clone"
        top = str(repository.top)
        # git trusts the original, or it would not have been found
        trust = clone.with_name("gitconfig")
        trust.write_text("[safe]\ndirectory = *\n", encoding="utf-8")
        _call([*_CLONE, top, str(clone)], clone.parent, GIT_CONFIG_GLOBAL=str(trust))
        if not git("-C", top, "cat-file", "-t", commit):
            raise TinyLLMError(
                f"Commit {commit} is not in this repository; fetch the branch that it is on."
            )
        # a clone lacks commits that are no longer on a branch
        fetch = ["git", "fetch", "--quiet", top, commit]
        _call(fetch, clone, GIT_CONFIG_GLOBAL=str(trust))
        _call(["git", "checkout", "--quiet", "--detach", commit], clone)
        if patch:
            place = clone.with_name("patch")
            place.write_bytes(patch)
            _call(["git", "apply", "--whitespace=nowarn", str(place)], clone)
        project = clone / repository.project
        if not (project / "dvc.yaml").is_file():
            raise TinyLLMError(
                f"Commit {commit[:12]} has no pipeline in {repository.top / repository.project}; "
                f"commit the project: git add --all && git commit"
            )
        yield project


def copy_sources(root: Path, clone: Path) -> None:
    """Copy raw data that is not in git.

    Raises:
        TinyLLMError: such data is not in this working tree either.
    """
    source = Path(_params_source(clone))
    if source.is_absolute() or (clone / source).exists():
        return
    if not (root / source).exists():
        raise TinyLLMError(
            f"The raw text {source} is neither in the commit nor in this working tree; put it "
            f"there and try again."
        )
    target = Path(os.path.normpath(clone / source))
    if not target.is_relative_to(find_repository(clone).top.parent):
        raise TinyLLMError(
            f"The raw text {source} lies outside of the repository; move it into the project, or "
            f"name it by its absolute path."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    if (root / source).is_dir():
        shutil.copytree(root / source, target)
    else:
        shutil.copyfile(root / source, target)


def run_pipeline(clone: Path, tell: Callable[[str], None] = lambda _: None) -> None:
    """Run every stage in the clone, from scratch.

    Args:
        clone: the project in the clone.
        tell: receives a line when a stage starts, and what the train stage says of its progress.

    Raises:
        TinyLLMError: a stage failed; the end of what it printed is in the message.
    """
    own = dict.fromkeys(_DVC_PLACES, str(clone / ".dvc" / "tmp" / "user"))
    command = [sys.executable, "-m", "dvc", "repro", "--force", "--no-run-cache"]
    _call(command, clone, lambda line: _pass_on(line, tell), **own)


def _pass_on(line: str, tell: Callable[[str], None]) -> None:
    if started := _STAGE.match(line):
        tell(started[1])
    elif _PROGRESS.match(line):
        tell(f"  {line}")


def _params_source(folder: Path) -> str:
    from tinyllm.app.params import load_params

    return str(load_params(folder / "params.yaml")["prepare"].model_dump()["source"])


def _call(
    command: list[str],
    folder: Path,
    heard: Callable[[str], None] = lambda _: None,
    **changes: str,
) -> None:
    ties = dict.fromkeys(name for name in os.environ if name.startswith(_TIES))
    plain = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_ATTR_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    last: collections.deque[str] = collections.deque(maxlen=3)
    with subprocess.Popen(  # noqa: S603 - fixed commands
        command,
        cwd=folder,
        env=child_environment(**{**ties, **plain, **changes}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        assert process.stdout is not None  # noqa: S101 - a pipe
        for line in filter(None, map(str.strip, process.stdout)):
            last.append(line)
            heard(line)
    if process.returncode:
        name = " ".join(command[2:4] if command[0] == sys.executable else command[:2])
        raise TinyLLMError(f"'{name}' failed in the clean clone: {' | '.join(last)}")
