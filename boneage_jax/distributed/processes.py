"""Several processes as one: how they find each other, agree, wait for one of them, and end together.

Every process runs the same program on its part of each batch. What only one may do (write a log, claim a folder) the
leader does, process 0; what all must decide alike (where to stop) they decide by a collective.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn, TypeVar

import jax
import numpy as np
from jax._src import distributed  # what a detected cluster is like, JAX tells nowhere else
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from boneage_jax.distributed.mesh import replicated, split, to_devices
from boneage_jax.distributed.request import WAIT_SECONDS, Mode
from boneage_jax.distributed.watch import Watch, listen
from boneage_jax.environment import take_collectives_in_order
from boneage_jax.errors import EXIT_PEER_LOST, UserError, fail_if_any, reason

Result = TypeVar("Result")

_HEARTBEAT_SECONDS = 30
"""Silence after which a process counts as lost; JAX's own 100 seconds cost too much on a large slice. Chosen by eye."""

_LOST = re.compile(
    r"gloo|nccl|coordination|heartbeat|connection (reset|closed|refused)|peer|UNAVAILABLE|DEADLINE_EXCEEDED|barrier",
    re.I,
)
"""What collectives and the coordination service say when another process is gone."""

_GRACE_SECONDS = 2.0
"""Time that the main thread has to report a better reason before a lost peer ends the process; chosen by eye."""

_ADVICE = (
    "The last checkpoint is kept: see what that process said, and start the same command again, with as many processes "
    "as you like"
)


class PeerLost(Exception):
    """Another process of this run has ended; the last checkpoint is kept."""

    exit_status = EXIT_PEER_LOST


class EverywhereError(UserError):
    """A `UserError` that all processes raise at the same place, so all end cleanly."""


@dataclasses.dataclass(frozen=True)
class World:
    """How processes find each other.

    Attributes:
      coordinator: address and port of process 0; empty where the environment tells it (Slurm, TPU pods, Kubernetes).
      count: of processes; 0 likewise.
      index: of this process; -1 likewise.
      wait: seconds to wait for the others at the start.
    """

    coordinator: str = ""
    count: int = 0
    index: int = -1
    wait: int = WAIT_SECONDS

    @classmethod
    def of(
        cls, mode: Mode, coordinator: str, count: int, index: int, wait: int, environment: Mapping[str, str]
    ) -> World | None:
        """Returns how to find the others, or None for a process that is alone.

        Args:
          mode: `on` asks JAX to detect the cluster; `auto` does where the environment is one of several processes:
            a Slurm step of several tasks, or a TPU pod with several workers.
          coordinator: see `World`; given with `count` and `index`, nothing is detected.
          count: see `World`.
          index: see `World`.
          wait: see `World`.
          environment: variables.

        Raises:
          UserError: where only some of the three are given, or they make no sense together.
        """
        given = {"--coordinator": bool(coordinator), "--processes": count > 0, "--process": index >= 0}
        if any(given.values()) and mode != "off":
            missing = [name for name, there in given.items() if not there]
            if missing:
                raise UserError(f"{', '.join(missing)}: missing; --coordinator, --processes and --process go together")
            host, _, port = coordinator.rpartition(":")
            if not host or not port.isdigit():
                raise UserError(f"--coordinator: found {coordinator!r}, expected HOST:PORT, as in 10.0.0.1:1234")
            if index >= count:
                raise UserError(f"--process: found {index}, expected 0 to {count - 1}, as --processes is {count}")
            return cls(coordinator, count, index, wait) if count > 1 else None
        in_slurm = "SLURM_PROCID" in environment and int(environment.get("SLURM_STEP_NUM_TASKS", "1")) > 1
        in_pod = "," in environment.get("TPU_WORKER_HOSTNAMES", "")
        return cls(wait=wait) if mode == "on" or (mode == "auto" and (in_slurm or in_pod)) else None


def is_process_zero() -> bool:
    """Returns whether this is process 0, which does what only one process may do."""
    return jax.process_index() == 0


@contextlib.contextmanager
def joined(world: World | None) -> Iterator[None]:
    """Runs its body as one of several processes; with None, as a process that is alone.

    Where the body fails in this process alone, the process ends at once: others wait for it in a collective, and they
    learn by its end that it is gone. The ordinary way out would wait for them in turn.

    Raises:
      UserError: where the others cannot be reached.
    """
    if world is None:
        yield
        return
    _join(world)
    watch = _watching(world)
    try:
        yield
    except BaseException as error:
        # Where all stop at the same place, process 0 alone prints the message.
        if isinstance(error, EverywhereError) or getattr(error, "is_agreed", False):
            watch.close()
            jax.distributed.shutdown()
            _end(error, speaks=is_process_zero())
        _end(_as_lost(error) or error)
    watch.close()
    jax.distributed.shutdown()


def _watching(world: World) -> Watch:
    """Connects this process with the others, so that each learns when one is gone."""

    def on_loss(index: int) -> None:
        # The main thread may be waiting for the other one in a collective, for ever. If it is not, and knows better
        # why all is over, it has a moment to say so.
        time.sleep(_GRACE_SECONDS)
        _end(PeerLost(f"process {index} has ended. {_ADVICE}"))

    watch = Watch(on_loss)
    listener, port, token = listen() if is_process_zero() else (None, 0, "")
    port, token = gathered([port, token])[0]
    if listener is not None:
        watch.lead(listener, token, jax.process_count())
        return watch
    host = (world.coordinator or str(getattr(distributed.global_state, "coordinator_address", ""))).rpartition(":")[0]
    watch.follow(host, port, token, jax.process_index())
    return watch


_ending = threading.Lock()


def _end(error: BaseException, *, speaks: bool = True) -> NoReturn:
    """Ends this process at once, with a message, or a traceback for an error without a message of ours."""
    _ending.acquire()  # never released: a second caller blocks until exit
    known = hasattr(error, "exit_status")
    if speaks and known:
        print(f"boneage: process {jax.process_index()} of {jax.process_count()}: {error}", file=sys.stderr)
    elif speaks:
        print(f"boneage: process {jax.process_index()} fails, and the others with it", file=sys.stderr)
        sys.excepthook(type(error), error, error.__traceback__)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(int(getattr(error, "exit_status", 130 if isinstance(error, KeyboardInterrupt) else 1)))


def _as_lost(error: BaseException) -> PeerLost | None:
    if not isinstance(error, (ValueError, RuntimeError, jax.errors.JaxRuntimeError)) or not _LOST.search(str(error)):
        return None
    return PeerLost(f"another process has ended or cannot be reached any more ({reason(error)}). {_ADVICE}")


def _join(world: World) -> None:
    if world.coordinator and world.index > 0:
        _wait_for(world.coordinator, world.wait)
    # Collectives between processes on CPUs; others bring theirs.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    take_collectives_in_order()
    try:
        jax.distributed.initialize(
            world.coordinator or None,
            world.count or None,
            world.index if world.index >= 0 else None,
            initialization_timeout=world.wait,
            heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"the processes did not find each other within {world.wait} s ({reason(error)}). Expected "
            f"{world.count or 'all'} processes of the same job, started together; see that all are running, that "
            "--processes is right, and that the coordinator's port is open and free"
        ) from error


def _wait_for(coordinator: str, seconds: int) -> None:
    """Waits until the coordinator can be reached; JAX's own attempt ends the process without a word of advice."""
    host, _, port = coordinator.rpartition(":")
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > end:
                raise UserError(
                    f"--coordinator {coordinator}: cannot be reached for {seconds} s ({reason(error)}); expected "
                    "process 0 to listen there. See that it is running, that name and port are right, and that no "
                    "firewall lies between"
                ) from error
            time.sleep(0.5)


def gathered(value: Any) -> list[Any]:
    """Returns every process's value, in the order of the processes; anything that JSON can hold."""
    if jax.process_count() == 1:
        return [value]
    data = np.frombuffer(json.dumps(value).encode(), np.uint8)
    lengths = np.asarray(multihost_utils.process_allgather(np.array(len(data), np.int32))).reshape(-1)
    padded = np.zeros(int(lengths.max()), np.uint8)
    padded[: len(data)] = data
    rows = np.asarray(multihost_utils.process_allgather(padded)).reshape(len(lengths), -1)
    return [json.loads(row[:length].tobytes()) for row, length in zip(rows, lengths, strict=True)]


def agree(about: Mapping[str, str]) -> None:
    """Makes sure that all processes run the same experiment.

    Args:
      about: what must be the same, by name.

    Raises:
      EverywhereError: where it is not; names what differs, and in which process.
    """
    if jax.process_count() == 1:
        return
    everyone = gathered(dict(about))
    first = everyone[0]
    differing = [
        f"{key}: found {first.get(key, 'nothing')} in process 0, {other.get(key, 'nothing')} in process {n}"
        for n, other in enumerate(everyone)
        for key in sorted(first.keys() | other.keys())
        if first.get(key) != other.get(key)
    ]
    with raise_together():
        fail_if_any(
            differing,
            "the processes were started with different experiments",
            "Start all with the same command, the same version and the same data.",
        )


@contextlib.contextmanager
def raise_together() -> Iterator[None]:
    """Turns a `UserError` that all processes raise inside into an `EverywhereError`."""
    try:
        yield
    except UserError as error:
        raise EverywhereError(str(error)) from error


def on_process_zero(action: Callable[[], Result]) -> Result | None:
    """Runs an action in the leader alone while the others wait; they get None.

    Raises:
      EverywhereError: in all processes, where the action raises `UserError` in the leader.
    """
    if jax.process_count() == 1:
        return action()
    result, trouble = None, ""
    if is_process_zero():
        try:
            result = action()
        except UserError as error:
            trouble = str(error)
    trouble = gathered(trouble)[0]
    if trouble:
        raise EverywhereError(trouble)
    return result


Tree = TypeVar("Tree")


def serialised(results: Tree) -> Tree:
    """Returns the results of a program; on the CPUs of several processes, once they are there.

    Two programs under way at once, as a step and the votes on it, would each receive what the other was sent:
    accelerators run what they are given in order, CPUs do not.
    """
    if jax.process_count() > 1 and jax.default_backend() == "cpu":
        jax.block_until_ready(results)
    return results


class Votes:
    """Asks all processes, step by step, whether any of them wants to stop.

    The answer comes from the devices, behind the step's own work: nobody waits for it, and all get the same.
    """

    def __init__(self, mesh: Mesh):
        self._mesh = mesh
        self._here = sum(device.process_index == jax.process_index() for device in mesh.devices.flat)
        self._any = jax.jit(lambda votes: votes.max(), in_shardings=split(mesh), out_shardings=replicated(mesh))
        self._last: jax.Array | None = None

    def heard(self, wants_to_stop: bool) -> bool:
        """Casts this process's vote, and returns whether any process has voted to stop.

        Alone, a process hears its own vote at once. Several hear the votes of the call before: those of this one are
        still on their way.
        """
        if jax.process_count() == 1:
            return wants_to_stop
        before = self._last
        mine = np.full(self._here, wants_to_stop, np.int32)
        self._last = serialised(self._any(to_devices({"votes": mine}, self._mesh)["votes"]))
        return before is not None and bool(jax.device_get(before))
