"""Under torchrun, torchrun decides how many processes there are."""

import pytest

from tinyllm.base.errors import ConfigError
from tinyllm.kernels.config import NumericsConfig
from tinyllm.training.launch import (
    as_launched,
    is_restart,
    place_on_machine,
    processes_here,
    rank_of_this_process,
)


@pytest.fixture
def torchrun(monkeypatch):
    variables = {"RUN_ID": "x", "RESTART_COUNT": "0"}
    for name, value in variables.items():
        monkeypatch.setenv(f"TORCHELASTIC_{name}", value)
    for name, value in {
        "RANK": "5",
        "LOCAL_RANK": "1",
        "WORLD_SIZE": "8",
        "LOCAL_WORLD_SIZE": "2",
    }.items():
        monkeypatch.setenv(name, value)


def test_without_torchrun_the_params_decide(monkeypatch):
    # what a shell may have left
    monkeypatch.setenv("RANK", "3")
    assert as_launched(NumericsConfig(processes=4)).processes == 4
    assert processes_here(NumericsConfig(processes=4)) == 4
    assert (rank_of_this_process(), place_on_machine(2), is_restart()) == (0, 2, False)


@pytest.mark.parametrize("processes", [1, 8])
def test_torchrun_decides_on_the_number(torchrun, processes):
    assert as_launched(NumericsConfig(processes=processes)).processes == 8
    assert processes_here(NumericsConfig()) == 2
    assert (rank_of_this_process(), place_on_machine(5), is_restart()) == (5, 1, False)


def test_another_number_in_the_params_is_refused(torchrun):
    with pytest.raises(ConfigError) as caught:
        as_launched(NumericsConfig(processes=4))
    assert str(caught.value) == (
        "torchrun started 8 processes, but numerics.processes is 4; leave it at 1, and torchrun "
        "decides."
    )


def test_a_restart_is_known(torchrun, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "2")
    assert is_restart()
