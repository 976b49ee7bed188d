"""What a case of the campaign is, and the register of all of them."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import tests.campaign

if TYPE_CHECKING:
    from tests.campaign.world import World


class Mechanism(Enum):
    """What holds a kind of fault off."""

    KEEP = "Nothing of the user's is deleted"
    BARRIER = "Every error is one sentence"
    PREFLIGHT = "What can be known at the beginning is said at the beginning"
    READ = "Files that are read are checked first"
    JOURNAL = "The journal is the truth, the store a copy"
    FENCE = "What stands outside changes nothing"
    LEAVE = "What leaves the machine is chosen"
    TEXT = "Text is text"
    CORPUS = "Every file of a corpus is taken or named"
    BUSY = "Busy machines and small containers"
    FIRST = "The first hours"
    CLIENTS = "Other programs"


Check = Callable[["World"], None]


@dataclass(frozen=True)
class Case:
    """One thing that is done to the program.

    Attributes:
        name: of the function, which is also its name on the command line.
        mechanism: the one that has to hold.
        given: the input or the situation, for the table.
        holds: what must be true, for the table.
        check: does it, and asserts that.
        slow: whether it takes more than some seconds.
    """

    name: str
    mechanism: Mechanism
    given: str
    holds: str
    check: Check
    slow: bool = False


CASES: dict[str, Case] = {}


def case(
    mechanism: Mechanism, given: str, holds: str, *, slow: bool = False
) -> Callable[[Check], Check]:
    """Register a function as a case."""

    def register(check: Check) -> Check:
        name = check.__name__
        known = CASES.get(name)
        if known is not None and inspect.getmodule(known.check) is not inspect.getmodule(check):
            raise ValueError(f"two cases are called {name}")
        CASES[name] = Case(name, mechanism, given, holds, check, slow)
        return check

    return register


def all_cases() -> dict[str, Case]:
    """Every case of every module of this package, by name."""
    for module in pkgutil.iter_modules(tests.campaign.__path__):
        if module.name.startswith("cases_"):
            importlib.import_module(f"tests.campaign.{module.name}")
    return CASES
