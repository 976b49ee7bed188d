"""What commands that run experiments share: one at a time by a name, and stopped in order."""

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

from tinyllm.base.errors import Interrupted, TinyLLMError


@contextlib.contextmanager
def running(name: str) -> Iterator[None]:
    """Run experiments of this name alone; let Ctrl-C and SIGTERM stop them in order.

    Raises:
        TinyLLMError: another process runs them.
        Interrupted: a signal came.
    """
    from filelock import FileLock, Timeout

    from tinyllm.app.experiments.experiment import experiments_folder

    experiments_folder().mkdir(parents=True, exist_ok=True)
    lock = FileLock(experiments_folder() / f"{name}.lock", timeout=0)
    came: list[int] = []

    def stop(number: int, _frame: Any) -> None:
        came.append(number)
        raise KeyboardInterrupt

    previous = {n: signal.signal(n, stop) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        with lock:
            yield
    except Timeout:
        raise TinyLLMError(f"{name} is running already.") from None
    except KeyboardInterrupt:
        number = came[0] if came else signal.SIGINT
        raise Interrupted("Stopped by a signal; the same command goes on.", number) from None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def status_of(error: BaseException) -> str:
    """MLflow's status for a run that an exception ended."""
    return "KILLED" if isinstance(error, KeyboardInterrupt | Interrupted) else "FAILED"
