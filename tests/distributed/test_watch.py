"""Connections between processes, here between threads: who is gone is noticed, who says good-bye is not missed."""

import contextlib
import queue
import socket
import threading

import pytest

from boneage_jax.distributed.watch import Watch, listen


class World:
    """A leader and two followers, and what each has heard."""

    def __init__(self):
        listener, port, token = listen()
        self.heard = [queue.Queue() for _ in range(3)]
        self.watches = [Watch(self.heard[n].put) for n in range(3)]
        self.watches[0].lead(listener, token, 4)  # one more than come, so that it goes on listening
        self.port, self.token = port, token
        for n in (1, 2):
            assert self.watches[n].follow("localhost", port, token, n)
        while len(self.watches[0]._peers) < 2:
            threading.Event().wait(0.01)

    def dies(self, index):
        """What a process's end does to its sockets."""
        for peer in self.watches[index]._peers.values():
            with contextlib.suppress(OSError):  # closed by the other side already
                peer.shutdown(socket.SHUT_RDWR)
            peer.close()


@pytest.fixture
def world():
    made = World()
    yield made
    for watch in made.watches:
        watch.close()


def nothing(heard):
    with pytest.raises(queue.Empty):
        heard.get(timeout=0.3)


def test_all_others_learn_who_is_gone(world):
    world.dies(2)
    assert world.heard[0].get(timeout=5) == 2
    assert world.heard[1].get(timeout=5) == 2
    # Told once, however many end after it.
    world.dies(1)
    nothing(world.heard[0])


def test_a_leader_that_is_gone_is_missed_by_all(world):
    world.watches[0]._over = True  # the dead say nothing
    world.dies(0)
    assert [world.heard[n].get(timeout=5) for n in (1, 2)] == [0, 0]


def test_who_says_good_bye_is_not_missed(world):
    world.watches[2].close()
    world.dies(2)
    nothing(world.heard[0])
    world.watches[0].close()
    world.dies(0)
    nothing(world.heard[1])


def test_strangers_are_not_missed(world):
    with socket.create_connection(("localhost", world.port), timeout=5) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n....")
    nothing(world.heard[0])


def test_a_leader_that_cannot_be_reached():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    assert not Watch(print).follow("localhost", port, "x" * 16, 1)
