"""The loss of a process is noticed by all, with its name; silence and an orderly end are none."""

import contextlib
import json
import socket
import threading
import time

import pytest

from tinyllm.training import connections
from tinyllm.training.connections import (
    accept_all,
    break_connections,
    connect_to_first,
    connections_here,
)
from tinyllm.training.liveness import SILENCE, Liveness

HOST = socket.gethostname()


class Store:
    """Values that all threads see."""

    def __init__(self):
        self.values, self.changed = {}, threading.Condition()

    def set(self, key, value):
        with self.changed:
            self.values[key] = value.encode()
            self.changed.notify_all()

    def get(self, key):
        with self.changed:
            self.changed.wait_for(lambda: key in self.values, timeout=10)
            return self.values[key]


def meet(size, store):
    """The connections of each process; here they are threads."""
    found = {}

    def join(rank):
        found[rank] = (
            connect_to_first(rank, size, store) if rank else accept_all(size, "127.0.0.1", store)
        )

    threads = [threading.Thread(target=join, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    return [found[rank] for rank in range(size)]


@pytest.fixture
def three():
    """Three processes that watch each other."""
    watching = [Liveness(peers) for peers, _ in meet(3, Store())]
    yield watching
    for one in watching:
        with contextlib.suppress(OSError):
            one.leave(orderly=True)


def test_all_processes_find_each_other_and_agree_on_a_new_word():
    (first, word), *others = meet(4, Store())
    names = [f"Process {rank} of the 4 that train together, on {HOST}," for rank in range(4)]
    assert sorted(first.values()) == names[1:]
    for peers, same in others:
        assert list(peers.values()) == names[:1]
        assert same == word
    assert meet(2, Store())[0][1] != word
    for peer in [*first, *(peer for peers, _ in others for peer in peers)]:
        peer.close()


@pytest.mark.parametrize("answers", [True, False])
def test_what_an_earlier_attempt_left_in_the_store_does_no_harm(answers):
    store = Store()
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        store.set("tinyllm/first", json.dumps(["127.0.0.1", stranger.getsockname()[1], "old"]))
        if answers:
            threading.Thread(target=answer_once, args=(stranger,), daemon=True).start()
        else:
            stranger.close()
        found = meet(3, store)
    assert [len(peers) for peers, _ in found] == [2, 1, 1]
    for peers, _ in found:
        for peer in peers:
            peer.close()


def answer_once(server):
    peer, _ = server.accept()
    with peer:
        peer.sendall(b"HTTP/1.1 400 Bad Request\r\n")


def test_a_process_that_waits_behind_silent_strangers_is_counted_once(monkeypatch):
    monkeypatch.setattr(connections, "_ANSWER", 0.3)
    monkeypatch.setattr(connections, "_PATIENCE", 10.0)
    store, found = Store(), []
    first = threading.Thread(target=lambda: found.append(accept_all(2, "127.0.0.1", store)))
    first.start()
    _, port, _ = json.loads(store.get("tinyllm/first"))
    with contextlib.ExitStack() as strangers:
        for _ in range(3):
            strangers.enter_context(socket.create_connection(("127.0.0.1", port)))
        peers, _ = connect_to_first(1, 2, store)
        first.join(timeout=20)
    watching = [Liveness(peers), Liveness(found[0][0])]
    # a connection that was given up would look like a process that has ended
    assert not any(one.loss(0.3) for one in watching)
    for one in watching:
        one.leave(orderly=True)


def test_a_process_that_ends_is_a_loss_for_all_and_has_a_name(three):
    three[2].leave(orderly=False)
    for rank in (0, 1):
        assert (
            three[rank].loss(5) == f"Process 2 of the 3 that train together, on {HOST}, has ended"
        )
        with pytest.raises(RuntimeError, match="Process 2 of the 3"):
            three[rank].check()


def test_the_end_of_the_first_process_is_a_loss_for_all_others(three):
    three[0].leave(orderly=False)
    for rank in (1, 2):
        assert three[rank].loss(5).startswith("Process 0 of the 3 that train together, on ")


def test_an_orderly_end_is_no_loss(three):
    for rank in (1, 0):
        three[rank].leave(orderly=True)
    assert not three[2].loss(0.3)
    three[2].check()


def test_silence_is_no_loss(three):
    assert not three[0].loss(0.5)
    for one in three:
        one.check()


def test_a_loss_ends_what_waits_for_an_exchange(three):
    before = connections_here()
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        other, _ = server.accept()
    exchanges = connections_here() - before
    assert len(exchanges) == 2
    three[1].on_loss(lambda: break_connections(exchanges))
    one.settimeout(10)
    since = time.monotonic()
    three[2].leave(orderly=False)
    # nothing was sent, so this waits for the end of the connection
    assert one.recv(1) == b""
    assert time.monotonic() - since < 5
    one.close(), other.close()


def test_a_loss_that_is_known_already_is_reacted_to(three):
    reactions = []
    three[0].leave(orderly=False)
    assert three[1].loss(5)
    three[1].on_loss(lambda: reactions.append(1))
    assert reactions == [1]


def test_the_kernel_probes_the_connections_and_gives_up_within_half_a_minute():
    (peers, _), (others, _) = meet(2, Store())
    liveness = Liveness(peers)
    (peer,) = peers
    assert peer.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    idle, interval, probes = (
        peer.getsockopt(socket.IPPROTO_TCP, getattr(socket, f"TCP_KEEP{name}"))
        for name in ("IDLE", "INTVL", "CNT")
    )
    assert idle + interval * probes == SILENCE < 25
    liveness.leave(orderly=True)
    for other in others:
        other.close()
