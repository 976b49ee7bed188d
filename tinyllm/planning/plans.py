"""What is asked of a plan, and what it is."""

from dataclasses import dataclass, field

from tinyllm.planning.law import Law
from tinyllm.planning.search import Scored
from tinyllm.planning.texts import TextFacts
from tinyllm.planning.trials import Trial
from tinyllm.training.recipe import Recipe


@dataclass(frozen=True)
class Wish:
    """What is asked for: seconds of the train stage, or a loss in nats per token."""

    seconds: float | None = None
    loss: float | None = None
    find_rates: bool = True
    find_threads: bool = True
    seed: int = 1337


@dataclass(frozen=True)
class Plan:
    """A run, and what is expected of it.

    Attributes:
        recipe: its sections of params.yaml.
        text: the facts of the text.
        candidates: what was looked at, with expected losses; the first one is chosen.
        trials: short runs that were made.
        law: after them.
        seconds: of the whole train stage.
        fixed: of these, what does not depend on the number of steps.
        memory: bytes that a short run took.
        beside: knob -> pairs of another value and the ratio of its expected loss.
    """

    recipe: Recipe
    text: TextFacts
    candidates: list[Scored]
    trials: list[Trial]
    law: Law
    seconds: float
    fixed: float
    memory: int
    beside: dict[str, list[tuple[float, float]]] = field(repr=False)

    @property
    def chosen(self) -> Scored:
        """The candidate that is the plan."""
        return self.candidates[0]
