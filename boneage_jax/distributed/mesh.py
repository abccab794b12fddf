"""One global view of data parallelism: a mesh with one axis, `data`."""

from __future__ import annotations

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from boneage_jax.data.pipeline import Batch, Share
from boneage_jax.environment import no_devices
from boneage_jax.errors import UserError, reason


def make_mesh(devices: int = 0) -> Mesh:
    """Returns a mesh of all devices, or of the first `devices`.

    Raises:
      UserError: where fewer devices are there, or fewer than all are wanted of several processes, or the environment
        asks JAX for a kind of devices that it does not find.
    """
    try:
        here = jax.devices()
    except (RuntimeError, AssertionError) as error:
        raise UserError(no_devices() or reason(error)) from error
    if devices > len(here):
        raise UserError(
            f"train.devices: found {devices}, expected at most {len(here)} ({here[0].platform} devices here)"
        )
    if devices and jax.process_count() > 1 and devices < len(here):
        raise UserError(
            f"train.devices: found {devices}, expected 0 or all {len(here)} of {jax.process_count()} processes; "
            "start fewer processes instead"
        )
    chosen = here[: devices or len(here)]
    return jax.make_mesh((len(chosen),), ("data",), axis_types=(AxisType.Auto,), devices=chosen)


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of what every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of batches: the first axis over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def share(mesh: Mesh) -> Share:
    """Returns the part of every global batch that this process reads."""
    processes = sorted({device.process_index for device in mesh.devices.flat})
    return Share(processes.index(jax.process_index()), len(processes))


def check_batch_size(key: str, batch_size: int, mesh: Mesh, *, accumulation: int = 1) -> None:
    """Raises `UserError` unless every device gets the same number of images in every part of a batch."""
    if batch_size % (mesh.size * accumulation):
        parts = f" in {accumulation} parts" if accumulation > 1 else ""
        unit = mesh.size * accumulation
        below, above = batch_size // unit * unit, -(-batch_size // unit) * unit
        raise UserError(
            f"{key}: found {batch_size}, which {mesh.size} devices do not divide{parts}; expected a multiple of "
            f"{unit}, such as {below or above} or {above if below else above + unit}"
        )


def to_devices(batch: Batch, mesh: Mesh) -> dict[str, jax.Array]:
    """Starts copying this process's part of a batch to its devices; returns the global arrays at once."""
    sharding = split(mesh)
    # Asked for here; with several processes JAX itself takes these copies for hidden ones.
    with jax.transfer_guard_host_to_device("allow"):
        return {name: jax.make_array_from_process_local_data(sharding, values) for name, values in batch.items()}
