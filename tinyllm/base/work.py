"""What the engines share: jobs, what they need, and the order of their results."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

# how often a job is tried whose workers are lost
ATTEMPTS = 4
HOW_TO_GO_ON = "run it again: what is finished is kept"


class Job(Protocol):
    """What a job must tell: its size, in bytes of input."""

    @property
    def size(self) -> int:
        """Bytes that it reads."""


R = TypeVar("R")


@dataclass(frozen=True)
class Needs:
    """What each job occupies; `gpus` count only on a cluster that has any."""

    cores: int = 1
    gpus: int = 0


class Results(Generic[R]):
    """Results in the order of the jobs, told as soon as those before them are there."""

    def __init__(self, count: int, tell: Callable[[R], object]) -> None:
        self._count, self._tell = count, tell
        self._waiting: dict[int, R] = {}
        self.told: list[R] = []

    def add(self, number: int, result: R) -> None:
        """Take the result of a job."""
        self._waiting[number] = result
        while len(self.told) in self._waiting:
            self.told.append(self._waiting.pop(len(self.told)))
            self._tell(self.told[-1])

    @property
    def complete(self) -> bool:
        """Whether all results were told."""
        return len(self.told) == self._count
