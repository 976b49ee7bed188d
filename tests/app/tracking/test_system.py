"""Samples of the machine and the training process, under MLflow's names."""

import psutil

from tests.waiting import wait_until
from tinyllm.app.tracking.journal import Journal
from tinyllm.app.tracking.system import SystemMetrics, usage


def samples(journal):
    return [e for e, _ in journal.events() if e["kind"] == "metrics"]


def test_samples_are_numbered_on_when_a_run_resumes(tmp_path):
    journal = Journal(tmp_path, "a" * 32)
    for _ in range(2):
        before = len(samples(journal))
        with SystemMetrics(journal, psutil.Process(), 0.01):
            enough = before + 3
            wait_until(lambda enough=enough: len(samples(journal)) >= enough)
    found = samples(journal)
    assert [event["step"] for event in found] == list(range(len(found)))
    assert all(0 < e["values"]["system/system_memory_usage_percentage"] < 100 for e in found)


def test_sampling_ends_with_the_process_that_it_watches(tmp_path):
    gone = psutil.Popen(["sleep", "0.2"])
    with SystemMetrics(Journal(tmp_path, "a" * 32), gone, 0.05) as sampling:
        gone.wait()
        wait_until(lambda: not sampling._thread.is_alive())


def test_memory_of_the_process_is_some_of_the_machines(tmp_path):
    values = usage(psutil.Process())
    own, all_of_it = (
        values["system/process_memory_megabytes"],
        values["system/system_memory_usage_megabytes"],
    )
    assert 5 < own < all_of_it
