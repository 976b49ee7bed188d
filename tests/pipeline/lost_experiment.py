"""An experiment of DVC's queue whose worker was killed."""

from collections.abc import Callable
from pathlib import Path

from tests.queue_kill import kill_one_worker, queue, start_workers, wait_for_queue


def lose_an_experiment(project: Path, run: Callable[..., object]) -> str:
    """Kill a worker of the queue in the middle of a run; return the experiment's name."""
    run("git", "checkout", "--quiet", "--", ".")
    run("dvc", "queue", "remove", "--all")
    # long enough to be caught
    changes = ("-S", "train.learning_rate=0.03", "-S", "train.max_steps=3000")
    run("dvc", "exp", "run", "--queue", *changes)
    start_workers(project)
    kill_one_worker(project)
    wait_for_queue(project)
    (lost,) = (name for name, state in queue(project).items() if state == "Running")
    return lost
