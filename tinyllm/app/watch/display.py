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
from tinyllm.base.events import DatasetRead, Event, RunStarted, StepTaken, Validated
from tinyllm.training.config import TrainingConfig

_log = get_logger(__name__)
# seconds
_WORTH_SAYING = 20.0


class TrainingDisplay:
    """The progress bar and the log of a run, and the curves for the tracker."""

    def __init__(self, started: RunStarted, config: DisplayConfig, tracker: Tracker) -> None:
        training = started.sections["train"]
        assert isinstance(training, TrainingConfig)  # noqa: S101 - the train stage's own section
        self._max_steps = training.max_steps
        self._interval, self._tracker = config.log_interval, tracker
        self._bar = ProgressBar(training.max_steps, show=config.progress)
        # tokens per character, by split
        self._ratios = {"train": 1.0, "val": 1.0}
        self._tokens = 0
        self._since: float | None = None
        self._estimated = False

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
            case DatasetRead():
                self._ratios[event.split] = event.tokens_per_character
            case Validated():
                bits = event.val_loss / math.log(2) * self._ratios["val"]
                self._tracker.metrics(event.step, {"val_loss": event.val_loss, "val_bits": bits})
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
        ratio = self._ratios["train"]
        bits = event.loss / math.log(2) * ratio
        note = f"{bits:.3f} bits per character"
        values = {
            "train_loss": event.loss,
            "train_bits": bits,
            "learning_rate": event.learning_rate,
            "gradient_norm": event.gradient_norm,
            # as an axis, this compares runs with unlike batches and tokens
            "characters_seen": event.step * event.tokens / ratio,
        }
        if self._tokens:
            speed = self._tokens / max(seconds, 1e-9)
            values["characters_per_second"] = speed / ratio
            note += f", {speed / ratio:,.0f} characters/s"
            self._estimate(event, speed)
        self._bar.note(note)
        self._tracker.metrics(event.step, values)

    def _estimate(self, event: StepTaken, speed: float) -> None:
        """Say once how long the run will take, as soon as the speed is known."""
        left = (self._max_steps - event.step) * event.tokens / speed
        if not self._estimated and left > _WORTH_SAYING:
            with tqdm.external_write_mode():
                _log.info("%d more steps take %s", self._max_steps - event.step, duration(left))
        self._estimated = True


def duration(seconds: float) -> str:
    """A time span in the unit that people would choose."""
    minutes = seconds / 60
    if minutes < 1.5:
        return f"about {math.ceil(seconds / 10) * 10:d} seconds"
    return f"about {minutes:.0f} minutes" if minutes < 90 else f"about {minutes / 60:.1f} hours"
