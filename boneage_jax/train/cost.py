"""What a training step costs, read from the compiled program: nothing is run, and the devices need not be there."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh

from boneage_jax import tasks
from boneage_jax.config import ExperimentConfig
from boneage_jax.errors import UserError
from boneage_jax.train.optimizer import make_optimizer, make_schedule
from boneage_jax.train.state import abstract_state
from boneage_jax.train.step import compile_train_step


@dataclasses.dataclass(frozen=True)
class Chip:
    """Published rates of an accelerator.

    Attributes:
      name: for people.
      flops: matrix operations a second in bfloat16, a multiplication and an addition counted as two.
      bandwidth: bytes a second from and to its memory.
      memory: bytes.
    """

    name: str
    flops: float
    bandwidth: float
    memory: float


V5E = Chip("TPU v5e", 197e12, 819e9, 16 * 2**30)
"""Google Cloud documentation, "TPU v5e": 197 TFLOP/s bfloat16, 819 GB/s, 16 GB a chip."""

H200 = Chip("H200 SXM", 989e12, 4.8e12, 141e9)
"""NVIDIA H200 datasheet: 989 TFLOP/s bfloat16 without sparsity, 4.8 TB/s, 141 GB."""


@dataclasses.dataclass(frozen=True)
class StepCost:
    """A step on one of the mesh's devices, as its compiler counts.

    Attributes:
      images: of the batch that fall to this device.
      flops: operations.
      bytes: read from and written to memory.
      memory: bytes that the program needs at its largest: state, batch, results not written over it, and temporaries.
    """

    images: float
    flops: float
    bytes: float
    memory: int

    def bound(self, chip: Chip) -> float:
        """Returns the seconds that a step takes at least: the longer of arithmetic and memory at the chip's rates.

        Williams et al. 2009, "Roofline".
        """
        return max(self.flops / chip.flops, self.bytes / chip.bandwidth)


def tpu_mesh(topology: str) -> Mesh:
    """Returns a mesh over the chips of a TPU slice that need not be there.

    Args:
      topology: as in `v5e:2x4`.

    Raises:
      UserError: without the extra `tpu`, and for slices that do not exist.
    """
    from jax.experimental import topologies

    try:
        # A single chip is a host of its own.
        hosts = {"chips_per_host_bounds": (1, 1, 1)} if topology.endswith(":1x1") else {}
        described = topologies.get_topology_desc(topology_name=topology, platform="tpu", **hosts)
    except Exception as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"topology {topology!r}: cannot be described ({first}); expected one as in v5e:2x4, v5p:2x2x1 or "
            "v6e:16x16, and libtpu: pip install 'boneage-jax[tpu]'"
        ) from error
    return Mesh(np.array(described.devices), ("data",), axis_types=(AxisType.Auto,))


def step_cost(config: ExperimentConfig, mesh: Mesh) -> StepCost:
    """Compiles the training step of a config for the devices of a mesh, and returns what it costs.

    Args:
      config: the experiment; the form of its kernels becomes the one for the mesh's devices.
      mesh: of devices that are here, or of `tpu_mesh`.
    """
    if mesh.devices.flat[0].platform != "cpu":
        # What `auto` means is asked of the devices that are here.
        config = dataclasses.replace(config, model=dataclasses.replace(config.model, kernels="plain"))
    task = tasks.build(config.task)
    schedule = make_schedule(config.optimizer, total_steps=1000, warmup_steps=10)
    optimizer = make_optimizer(config.optimizer, schedule)
    network, state = abstract_state(config, optimizer)
    step = compile_train_step(mesh, config=config, network=network, task=task, optimizer=optimizer, schedule=schedule)
    compiled = step.lower(state, _batch_of(config, task)).compile()  # type: ignore[attr-defined]
    counted, memory = compiled.cost_analysis(), compiled.memory_analysis()
    needed = (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
    )
    return StepCost(
        config.train.batch_size / mesh.size, float(counted["flops"]), float(counted["bytes accessed"]), int(needed)
    )


def _batch_of(config: ExperimentConfig, task: tasks.Task) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of a batch: see `pipeline.Batch`."""
    count, data = config.train.batch_size, config.data
    picture = (count, data.height, data.width) + ((data.pictures,) if data.pictures > 1 else ())
    shapes = {"image": jax.ShapeDtypeStruct(picture, jnp.uint8)}
    if "hand" in task.layers:
        shapes["hand"] = jax.ShapeDtypeStruct(picture, jnp.uint8)
    if "key_points" in task.layers:
        shapes["key_points"] = jax.ShapeDtypeStruct((count, 3, 2), jnp.float32)
    shapes |= {name: jax.ShapeDtypeStruct((count,), jnp.float32) for name in ("male", "bone_age", "mask")}
    return shapes | {"slot": jax.ShapeDtypeStruct((count,), jnp.int32)}
