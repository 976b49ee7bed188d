"""What a target is, and the register of all of them."""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tests.campaign.fuzz

ROOT = Path(__file__).resolve().parents[3]
CORPUS = ROOT / "tests/campaign/fuzz/corpus"
Run = Callable[[bytes], None]


@dataclass(frozen=True)
class Target:
    """Something that reads.

    Attributes:
        name: of the function, which is also its name on the command line.
        run: reads; what it raises, except a `TinyLLMError`, is a fault.
        seeds: inputs to start from.
        words: what a dictionary for this input holds.
        share: how many executions it gets, relative to others; slow ones get fewer.
        longest: bytes of an input.
    """

    name: str
    run: Run
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()
    share: float = 1.0
    longest: int = 512

    def faults(self, data: bytes) -> BaseException | None:
        """Read an input; return what went wrong, or None."""
        # nothing of the program is imported before it is instrumented
        from tinyllm.base.errors import TinyLLMError

        try:
            self.run(data)
        except TinyLLMError:
            return None
        except Exception as error:
            return error
        return None

    def inputs(self) -> dict[str, bytes]:
        """The seeds and what is kept of earlier searches, by name."""
        seeds = {f"seed {number}": seed for number, seed in enumerate(self.seeds)}
        folder = CORPUS / self.name
        return seeds | {path.name: path.read_bytes() for path in sorted(folder.glob("*"))}


TARGETS: dict[str, Target] = {}


def target(
    *seeds: bytes, words: tuple[bytes, ...] = (), share: float = 1.0, longest: int = 512
) -> Callable[[Run], Run]:
    """Register a function as a target."""

    def register(run: Run) -> Run:
        name = run.__name__
        TARGETS[name] = Target(name, run, (b"", *seeds), words, share, longest)
        return run

    return register


def all_targets() -> dict[str, Target]:
    """Every target of every module of this package, by name."""
    for module in pkgutil.iter_modules(tests.campaign.fuzz.__path__):
        if module.name.startswith("targets_"):
            importlib.import_module(f"tests.campaign.fuzz.{module.name}")
    return TARGETS
