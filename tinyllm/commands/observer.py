"""What a person, and MLflow, see of a training while it runs."""

import math
import signal
import time
from types import FrameType, TracebackType
from typing import Any, Self

from torch import Tensor
from tqdm import tqdm

from tinyllm.config.runtime import RuntimeConfig
from tinyllm.config.training import TrainingConfig
from tinyllm.logger import get_logger
from tinyllm.tracking.tracker import Tracker
from tinyllm.training.loop import StepReport, ValidationReport

_log = get_logger(__name__)


class TrainingDisplay:
    """Progress bar, log, curves for the tracker, and a stop at the next step on a signal."""

    def __init__(self, config: TrainingConfig, runtime: RuntimeConfig, tracker: Tracker) -> None:
        self._config, self._runtime, self._tracker = config, runtime, tracker
        self._bar: Any = None
        self._signal = 0
        self._previous: dict[int, Any] = {}
        self._characters = 0
        self._since = time.monotonic()

    def __enter__(self) -> Self:
        """Take over SIGINT and SIGTERM: the first asks to stop, the second stops at once."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give the signals back and end the progress bar."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if self._bar is not None:
            self._bar.close()

    def on_step(self, report: StepReport) -> None:
        """Move the bar; at intervals log the step and record it."""
        if self._bar is None:
            self._bar = tqdm(
                total=self._config.max_steps,
                initial=report.step - 1,
                unit="step",
                disable=not self._runtime.progress,
                dynamic_ncols=True,
            )
            self._since, self._characters = time.monotonic(), 0
        self._characters += report.characters
        self._bar.update()
        if report.step % self._runtime.log_interval == 0 or report.step == self._config.max_steps:
            self._record(report)

    def on_validation(self, report: ValidationReport, weights: dict[str, Tensor] | None) -> None:
        """Record the validation loss and tell of it."""
        self._tracker.metrics(report.step, {"val_loss": report.val_loss})
        bits = report.val_loss / math.log(2)
        best = ", the best so far" if weights is not None else ""
        with tqdm.external_write_mode():
            _log.info("step %d: %.4f bits per character on val%s", report.step, bits, best)

    def should_stop(self) -> int:
        """The signal that asked to stop, or 0."""
        return self._signal

    def _record(self, report: StepReport) -> None:
        now = time.monotonic()
        speed = self._characters / max(now - self._since, 1e-9)
        self._since, self._characters = now, 0
        self._bar.set_postfix_str(f"loss {report.loss:.3f}, {speed:,.0f} characters/s")
        self._tracker.metrics(
            report.step,
            {
                "train_loss": report.loss,
                "learning_rate": report.learning_rate,
                "gradient_norm": report.gradient_norm,
                # a token is a character; as an axis, this compares runs of unlike batches
                "characters_seen": float(report.step * report.characters),
                "characters_per_second": speed,
            },
        )

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._signal:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._signal = number
