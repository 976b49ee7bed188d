"""A progress bar over the steps of a run, in a terminal or a notebook."""

import math
from types import TracebackType
from typing import Any, Self

from tqdm.auto import tqdm

from tinyllm.base.events import Event, StepTaken, Validated


class ProgressBar:
    """A progress bar that receives the events of a run.

    For the library: `with ProgressBar(steps) as bar: run_training(..., tell=bar)`.
    """

    def __init__(self, max_steps: int, *, unit: str = "character", show: bool = True) -> None:
        """Make a bar.

        Args:
            max_steps: of the run.
            unit: what a token is called, `Tokenizer.unit`.
            show: whether there is a bar at all.
        """
        self._max_steps, self._unit, self._show = max_steps, unit, show
        self._bar: Any = None

    def __enter__(self) -> Self:
        """Return the bar, which appears with the first step."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()

    def __call__(self, event: Event) -> None:
        """Advance with each step, and show validations."""
        match event:
            case StepTaken():
                self._start(event.step)
                self._bar.update()
            case Validated():
                bits = event.val_loss / math.log(2)
                self.note(f"step {event.step}: {bits:.4f} bits per {self._unit} on val")
            case _:
                pass

    def note(self, text: str) -> None:
        """Show a text beside the bar."""
        if self._bar is not None:
            self._bar.set_postfix_str(text)

    def _start(self, step: int) -> None:
        if self._bar is None:
            self._bar = tqdm(
                total=self._max_steps,
                initial=step - 1,
                unit="step",
                disable=not self._show,
                dynamic_ncols=True,
            )
