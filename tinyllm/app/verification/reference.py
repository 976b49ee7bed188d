"""What a rebuilt pipeline is compared with: the outs of dvc.lock, and the figures beside it."""

from dataclasses import dataclass
from pathlib import Path

from tinyllm.app.tracking.lineage import git
from tinyllm.app.verification.lock import LockedStage, parse_lock, read_lock
from tinyllm.base.errors import TinyLLMError

_NUMERICS = "numerics"


@dataclass(frozen=True)
class Reference:
    """The stages of a dvc.lock; `revision` is the commit that it is of, None for what is here."""

    root: Path
    stages: dict[str, LockedStage]
    revision: str | None = None

    def text(self, path: str) -> str:
        """A report that git holds.

        Raises:
            TinyLLMError: it is missing.
        """
        if self.revision:
            found = git("-C", str(self.root), "show", f"{self.revision}:./{path}")
        else:
            try:
                found = (self.root / path).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                found = ""
        if not found:
            raise TinyLLMError(f"There is no {path} to compare with; run 'dvc repro' first.")
        return found

    def place(self, path: str) -> Path | None:
        """An out that is here; None if another commit's would be needed."""
        here = self.root / path
        return here if self.revision is None and here.exists() else None


def find_reference(root: Path, *, portable: bool) -> Reference:
    """What to compare with: dvc.lock as it is here, or as it was committed.

    Where bytes are not portable, a run here has replaced the figures that were committed with its
    own. The committed ones say more, if they are of the same data, code and parameters.

    Raises:
        TinyLLMError: there is no dvc.lock, or it is damaged.
    """
    here = read_lock(root)
    if not portable and (text := git("-C", str(root), "show", "HEAD:./dvc.lock")):
        committed = parse_lock(text, Path("HEAD:dvc.lock"))
        if committed != here and _inputs(committed) == _inputs(here):
            return Reference(root, committed, "HEAD")
    return Reference(root, here)


def depends_on_arithmetic(stage: LockedStage) -> bool:
    """Whether a stage computes with floating-point numbers, by the parameters that it reads."""
    keys = (key for params in stage.params.values() for key in params)
    return any(key.partition(".")[0] == _NUMERICS for key in keys)


def _inputs(stages: dict[str, LockedStage]) -> dict[str, tuple[object, dict[str, str]]]:
    """Parameters and dependencies by stage, but for what another stage computed."""
    computed = {
        out.path for stage in stages.values() if depends_on_arithmetic(stage) for out in stage.outs
    }
    return {
        name: (stage.params, {of.path: of.md5 for of in stage.deps if of.path not in computed})
        for name, stage in stages.items()
    }
