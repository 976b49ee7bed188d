"""Shared by the commands that run experiments: how many at once, a lock by name, a clean stop."""

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

import click

from tinyllm.base.errors import Interrupted, TinyLLMError

workers_option = click.option(
    "--workers", type=click.IntRange(1), default=1, show_default=True, help="How many at a time."
)


@contextlib.contextmanager
def running(name: str) -> Iterator[None]:
    """Lock the name of the experiments; let Ctrl-C and SIGTERM stop them cleanly.

    Raises:
        TinyLLMError: another process is running them.
        Interrupted: a signal was received.
    """
    from filelock import FileLock, Timeout

    from tinyllm.app.experiments.trials import experiments_folder

    experiments_folder().mkdir(parents=True, exist_ok=True)
    lock = FileLock(experiments_folder() / f"{name}.lock", timeout=0)
    received: list[int] = []

    def stop(number: int, _frame: Any) -> None:
        received.append(number)
        raise KeyboardInterrupt

    previous = {n: signal.signal(n, stop) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        with lock:
            yield
    except Timeout:
        raise TinyLLMError(f"{name} is running already.") from None
    except KeyboardInterrupt:
        number = received[0] if received else signal.SIGINT
        raise Interrupted("Stopped by a signal; the same command resumes.", number) from None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def status_of(error: BaseException) -> str:
    """MLflow's status of a run that ended with an exception."""
    return "KILLED" if isinstance(error, KeyboardInterrupt | Interrupted) else "FAILED"
