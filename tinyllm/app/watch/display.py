"""What the user sees during a run, and the curves for MLflow."""

import math
import time
from types import TracebackType
from typing import Self

from tqdm.auto import tqdm

from tinyllm.app.config import DisplayConfig
from tinyllm.app.logger import get_logger
from tinyllm.app.tracking.tracker import Tracker
from tinyllm.app.watch.bar import ProgressBar
from tinyllm.base.events import Event, RunStarted, StepTaken, Validated
from tinyllm.training.config import TrainingConfig

_log = get_logger(__name__)


class TrainingDisplay:
    """The progress bar and the log of a run, and the curves for the tracker."""

    def __init__(self, started: RunStarted, config: DisplayConfig, tracker: Tracker) -> None:
        training = started.sections["train"]
        assert isinstance(training, TrainingConfig)  # noqa: S101 - the train stage's own section
        self._max_steps = training.max_steps
        self._interval, self._tracker = config.log_interval, tracker
        self._bar = ProgressBar(training.max_steps, show=config.progress)
        self._tokens = 0
        self._since: float | None = None

    def __enter__(self) -> Self:
        """Return the display, whose bar appears with the first step."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the bar."""
        self._bar.__exit__(kind, error, traceback)

    def tell(self, event: Event) -> None:
        """Show and record steps and validations."""
        match event:
            case StepTaken():
                self._bar(event)
                self._step(event)
            case Validated():
                self._tracker.metrics(event.step, {"val_loss": event.val_loss})
                bits = event.val_loss / math.log(2)
                best = ", the best so far" if event.best else ""
                with tqdm.external_write_mode():
                    _log.info("step %d: %.4f bits per character on val%s", event.step, bits, best)
            case _:
                pass

    def _step(self, event: StepTaken) -> None:
        if self._since is None:
            # the first step is slower, so it does not count for the speed
            self._since, self._tokens = time.monotonic(), -event.tokens
        self._tokens += event.tokens
        if event.step % self._interval == 0 or event.step == self._max_steps:
            now = time.monotonic()
            self._record(event, now - self._since)
            self._since, self._tokens = now, 0

    def _record(self, event: StepTaken, seconds: float) -> None:
        note = f"loss {event.loss:.3f}"
        values = {
            "train_loss": event.loss,
            "learning_rate": event.learning_rate,
            "gradient_norm": event.gradient_norm,
            # a token is a character; as an axis, this compares runs with unlike batches
            "characters_seen": float(event.step * event.tokens),
        }
        if self._tokens:
            speed = values["characters_per_second"] = self._tokens / max(seconds, 1e-9)
            note += f", {speed:,.0f} characters/s"
        self._bar.note(note)
        self._tracker.metrics(event.step, values)
