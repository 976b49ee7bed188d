"""Four hosts, a network between them, and torchrun: one is cut off, and the run goes on."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.cluster.hosts import hosts, why_no_hosts
from tests.conftest import ROOT
from tinyllm.training.liveness import SILENCE

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]

HOSTS = 4
# seconds in which all processes have to end
CLEAN_END = 30
SHAPE = ("--d-model=32", "--num-heads=1", "--num-layers=1", "--d-ff=32", "--sequence-length=16")
RUN = ("--max-steps=400", "--batch-size=2", "--gradient-accumulation-steps=4", "--eval-interval=50")
QUIET = ("--no-tracking", "--no-progress", "--threads=1")


def train(tokens, folder):
    paths = ("--tokens", str(tokens), "--out", str(folder / "model"))
    options = ("--reports", str(folder / "report"), "--checkpoint-interval=0.5")
    return ("-m", "tinyllm.app.cli", "train", *paths, *options, *SHAPE, *RUN, *QUIET)


def environment(folder):
    return {**os.environ, "DVC_ROOT": str(folder), "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def alone(tokens, tmp_path_factory):
    """The model that one process trains."""
    folder = tmp_path_factory.mktemp("alone")
    command = [sys.executable, *train(tokens, folder)]
    subprocess.run(command, cwd=folder, env=environment(folder), check=True, capture_output=True)
    return folder / "model"


def is_training(process):
    with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        words = process.cmdline()
        return "tinyllm.app.cli" in words and "torch.distributed.run" not in words
    return False


class Cluster:
    """A run on several hosts that share a folder."""

    def __init__(self, network, tokens, folder) -> None:
        self.network, self.folder = network, folder
        torchrun = ("torch.distributed.run", f"--nnodes={HOSTS}", "--nproc-per-node=1")
        restarts = ("--max-restarts=3", "--rdzv-id=run", "--rdzv-conf=read_timeout=600")
        meeting = ("--rdzv-backend=c10d", "--rdzv-endpoint=host0:29500")
        command = (sys.executable, "-m", *torchrun, *restarts, *meeting, *train(tokens, folder))
        self.agents = [
            psutil.Popen(
                [*network.command(host), *command],
                cwd=folder,
                env=environment(folder) | {"GLOO_SOCKET_IFNAME": "eth0"},
                stdout=(folder / f"log{host}").open("w"),
                stderr=subprocess.STDOUT,
            )
            for host in range(HOSTS)
        ]

    def workers(self):
        """The processes that train."""
        family = [child for agent in self.agents for child in agent.children(recursive=True)]
        return [process for process in family if is_training(process)]

    def checkpoints(self):
        """Steps of the working checkpoints."""
        found = self.folder.glob(".tinyllm/training/*/step-*.json")
        return sorted(int(path.stem.removeprefix("step-")) for path in found)

    def log(self, host):
        """What torchrun and the process there have printed."""
        return (self.folder / f"log{host}").read_text(encoding="utf-8", errors="replace")

    def stop(self):
        """End all that is left."""
        for agent in self.agents:
            with contextlib.suppress(psutil.NoSuchProcess):
                for process in [*agent.children(recursive=True), agent]:
                    process.kill()


@pytest.fixture
def cluster(tokens, tmp_path):
    if reason := why_no_hosts():
        pytest.skip(reason)
    with hosts(HOSTS) as network:
        made = Cluster(network, tokens, tmp_path)
        yield made
        made.stop()


def wait_until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.1)


def assert_same_bytes(one, other):
    names = sorted(path.name for path in one.iterdir())
    assert len(names) == 3
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.parametrize("lost", [2, 0])
def test_a_host_that_is_cut_off_ends_all_and_the_restart_gives_the_same_bytes(cluster, alone, lost):
    wait_until(cluster.checkpoints, 120)
    cluster.network.cut_off(lost)
    wait_until(lambda: not cluster.workers(), CLEAN_END)
    reached = cluster.checkpoints()[-1]
    for host in range(HOSTS):
        errors = [line for line in cluster.log(host).splitlines() if line.startswith("Error:")]
        assert len(errors) == 1
        assert "that train together, on host" in errors[0]
        assert "cannot be reached any more; the same command resumes from the" in errors[0]
    cluster.network.plug_in(lost)
    for agent in cluster.agents:
        assert agent.wait(timeout=240) == 0
    log = "".join(cluster.log(host) for host in range(HOSTS))
    assert f"Resuming at step {reached} of 400." in log
    assert_same_bytes(cluster.folder / "model", alone)


def test_a_process_that_does_not_answer_for_long_is_not_lost(cluster, alone):
    wait_until(cluster.checkpoints, 120)
    busy = cluster.workers()[1]
    # as in a long validation or checkpoint, but harder: not even its threads run
    busy.send_signal(signal.SIGSTOP)
    time.sleep(SILENCE + 8)
    assert len(cluster.workers()) == HOSTS
    busy.send_signal(signal.SIGCONT)
    for agent in cluster.agents:
        assert agent.wait(timeout=240) == 0
    assert "Error:" not in "".join(cluster.log(host) for host in range(HOSTS))
    assert_same_bytes(cluster.folder / "model", alone)
