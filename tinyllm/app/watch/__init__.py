"""The watcher of the stages: progress bar, log, and the record for MLflow.

`tinyllm.base.events.find_watcher` finds this module by name. It imports whatever is slow only when
a run starts.
"""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tinyllm.app.config import DisplayConfig, TrackingConfig
from tinyllm.app.redaction import hide_in_tracebacks, take_password_from_url, without_secrets
from tinyllm.base.events import Advance, Event, RunStarted, Tell
from tinyllm.base.section import Section

__all__ = ["SECTIONS", "check_params", "prepare_process", "progress", "watch", "without_secrets"]

SECTIONS = (DisplayConfig, TrackingConfig)


def prepare_process() -> None:
    """Set up logging and the redaction of passwords."""
    from tinyllm.app.logger import setup_logger

    setup_logger()
    hide_in_tracebacks()
    take_password_from_url()


def check_params(path: Path, stage: str) -> None:
    """Check every section of params.yaml, and what this stage and the later ones need.

    Raises:
        ConfigError: the file is missing, is not YAML, or holds an unknown section or key or a
            value out of range.
        TinyLLMError: a package, memory, disk or text is missing.
    """
    from tinyllm.app.logger import setup_logger
    from tinyllm.app.params import load_params
    from tinyllm.app.preflight import check_everything

    setup_logger()
    check_everything(load_params(path), stage)


@contextlib.contextmanager
def progress(what: str, size: int) -> Iterator[Advance]:
    """Show a bar with the rate and the time left, for work of more than a few seconds."""
    from tqdm.auto import tqdm

    # in a file each new state is a new line
    pause = 0.2 if sys.stderr.isatty() else 30.0
    bar = tqdm(
        total=size,
        desc=what,
        unit="B",
        unit_scale=True,
        delay=2,
        mininterval=pause,
        dynamic_ncols=True,
    )
    with bar:
        yield bar.update


@contextlib.contextmanager
def watch(sections: Sequence[Section], started: RunStarted) -> Iterator[Tell]:
    """Record a run, and display it if it trains."""
    from tinyllm.app.logger import setup_logger
    from tinyllm.app.tracking.tracker import Tracker
    from tinyllm.app.watch.display import TrainingDisplay
    from tinyllm.base.files import working_folder

    display, tracking = sections
    assert isinstance(display, DisplayConfig)  # noqa: S101 - by SECTIONS
    assert isinstance(tracking, TrackingConfig)  # noqa: S101 - by SECTIONS
    with contextlib.ExitStack() as stack:
        if started.stage != "train":
            yield stack.enter_context(Tracker(started, tracking)).tell
            return
        setup_logger(working_folder() / "logs" / "train.log")
        tracker = stack.enter_context(Tracker(started, tracking))
        shown = stack.enter_context(TrainingDisplay(started, display, tracker))

        def tell(event: Event) -> None:
            tracker.tell(event)
            shown.tell(event)

        yield tell
