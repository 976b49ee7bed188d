"""Contention: noticed when others take the cores, forgotten afterwards, without changing a bit."""

import os
import subprocess
import sys
import threading
import time

import pytest
import torch

from tinyllm.kernels import contention
from tinyllm.kernels.contention import Contention


@pytest.fixture
def watched(monkeypatch):
    """Two threads on two cores, and a function that lets threads wait, or cores be idle."""
    count = {"waited": 0.0, "idle": 0.0}
    monkeypatch.setattr(contention, "usable_cores", lambda: 2)
    monkeypatch.setattr(contention, "_seconds_waited", lambda: count["waited"])
    monkeypatch.setattr(contention, "_seconds_idle", lambda _: count["idle"])
    monkeypatch.setattr(contention, "_PERIOD", 0.0)
    made = Contention(2)

    def happen(waiting, idle):
        time.sleep(0.05)
        elapsed = time.monotonic() - made._since
        count["waited"] += waiting * elapsed
        count["idle"] += idle * elapsed
        made.watch()

    yield made, happen
    happen(0, 1)


def test_waiting_for_a_core_is_noticed_until_it_ends(watched):
    made, happen = watched
    before = threading.active_count()
    happen(0.05, 0)
    happen(0.9, 0.8)
    assert not made.noticed
    happen(0.9, 0)
    assert made.noticed
    assert threading.active_count() == before + 1
    happen(0.9, 0)
    assert threading.active_count() == before + 1
    happen(0.9, 1)
    assert not made.noticed
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before


@pytest.mark.parametrize(("threads", "cores"), [(1, 2), (2, 1000)])
def test_a_single_thread_and_a_large_machine_need_no_idle_ones(monkeypatch, threads, cores):
    monkeypatch.setattr(contention, "usable_cores", lambda: cores)
    made = Contention(threads)
    monkeypatch.setattr(contention, "_seconds_waited", lambda: pytest.fail("watched"))
    made.watch()
    assert not made.noticed


def test_threads_that_gave_way_may_use_all_cores_again(watched):
    made, happen = watched
    before = os.sched_getaffinity(0)
    happen(0.9, 0)
    happen(0, 1)
    assert os.sched_getaffinity(0) == before
    happen(0.9, 0)
    made.stop()
    assert not made.noticed
    assert os.sched_getaffinity(0) == before


def test_idle_threads_change_no_result(watched):
    made, happen = watched
    torch.set_num_threads(2)
    a = torch.randn(300, 400, generator=torch.Generator().manual_seed(1))
    before = (a @ a.T).softmax(-1)
    happen(0.9, 0)
    assert made.noticed
    assert torch.get_num_threads() == 2
    assert torch.equal((a @ a.T).softmax(-1), before)
    torch.set_num_threads(1)


BESIDE_OTHERS = """
import time, torch
from tinyllm.kernels.contention import Contention
torch.set_num_threads(2)
made, deadline = Contention(2), time.monotonic() + 60
x = torch.ones(1_000_000)
while not made.noticed and time.monotonic() < deadline:
    x.add_(1)
    made.watch()
print(made.noticed)
"""


@pytest.mark.slow
def test_endless_loops_of_others_are_noticed():
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(8)]
    try:
        done = subprocess.run(
            ["taskset", "-c", "0,1", sys.executable, "-c", BESIDE_OTHERS],
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        for loop in loops:
            loop.kill()
    assert done.stdout == "True\n"
