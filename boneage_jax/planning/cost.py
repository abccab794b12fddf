"""What a training step costs, read from the compiled program: nothing is run, and the devices need not be there."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh

from boneage_jax import tasks
from boneage_jax.config import ExperimentConfig
from boneage_jax.distributed.mesh import make_mesh
from boneage_jax.errors import UserError, install_line, reason
from boneage_jax.planning.chips import Chip, Topology, known_topologies
from boneage_jax.planning.collectives import Collective, collectives_of
from boneage_jax.runs.optimizer import make_optimizer, make_schedule
from boneage_jax.runs.state import TrainState, abstract_state
from boneage_jax.train.step import compile_train_step


class DoesNotFit(Exception):
    """The program needs more memory than a device has."""


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes that a step needs on a device, by kind.

    Attributes:
      weights: parameters and batch statistics.
      optimizer: its moments.
      average: moving average of weights and statistics.
      batch: images and labels.
      temporaries: activations, gradients and other values of the program, at their largest.
      program: its own code.
    """

    weights: int
    optimizer: int
    average: int
    batch: int
    temporaries: int
    program: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(dataclasses.asdict(self).values())


@dataclasses.dataclass(frozen=True)
class StepCost:
    """The cost of a step on one of the mesh's devices, as its compiler counts.

    Attributes:
      images: of the batch, on this device.
      flops: floating-point operations.
      bytes: read from and written to memory.
      kinds: memory that the program needs at its largest, by kind.
      collectives: operations that all devices take part in.
      weights: shapes of all weights.
    """

    images: float
    flops: float
    bytes: float
    kinds: Memory
    collectives: tuple[Collective, ...] = ()
    weights: tuple[tuple[int, ...], ...] = ()

    @property
    def memory(self) -> int:
        """Bytes of all kinds."""
        return self.kinds.total

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

    parsed = Topology.parse(topology)
    try:
        # A single chip is a host of its own.
        hosts = {"chips_per_host_bounds": (1, 1, 1)} if parsed.count == 1 else {}
        described = topologies.get_topology_desc(topology_name=topology, platform="tpu", **hosts)
    except Exception as error:  # libtpu's own
        raise UserError(
            f"topology {topology!r}: cannot be described ({reason(error)}); expected one as in {known_topologies()}, "
            f"and libtpu: {install_line('tpu')}"
        ) from error
    return Mesh(np.array(described.devices), ("data",), axis_types=(AxisType.Auto,))


def step_cost(config: ExperimentConfig, mesh: Mesh) -> StepCost:
    """Compiles the training step of a config for the devices of a mesh, and returns its cost.

    Args:
      config: the experiment; the form of its kernels becomes the one for the mesh's devices.
      mesh: of devices that are here, or of `tpu_mesh`.

    Raises:
      DoesNotFit: where the compiler says that a device has too little memory.
    """
    if mesh.devices.flat[0].platform != "cpu":
        # `auto` would be resolved for the devices that are here.
        config = dataclasses.replace(config, model=dataclasses.replace(config.model, kernels="plain"))
    lowered, state, batch = _lowered(config, mesh)
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise DoesNotFit(reason(error)) from error
    counted, memory = compiled.cost_analysis(), compiled.memory_analysis()
    kinds = Memory(
        weights=_bytes((state.params, state.batch_stats)),
        optimizer=_bytes(state.opt_state),
        average=_bytes(state.average),
        batch=_bytes(batch) // mesh.size,
        # Results that are not written over the state are temporaries too.
        temporaries=int(memory.temp_size_in_bytes + max(0, memory.output_size_in_bytes - memory.alias_size_in_bytes)),
        program=int(memory.generated_code_size_in_bytes),
    )
    return StepCost(
        images=config.train.batch_size / mesh.size,
        flops=float(counted["flops"]),
        bytes=float(counted["bytes accessed"]),
        kinds=kinds,
        collectives=tuple(collectives_of(compiled.as_text())),
        weights=tuple(tuple(leaf.shape) for leaf in jax.tree.leaves(state.params)),
    )


def with_batch(config: ExperimentConfig, batch_size: int) -> ExperimentConfig:
    """Returns a config with another global batch size."""
    return dataclasses.replace(config, train=dataclasses.replace(config.train, batch_size=batch_size))


def operations_an_image(config: ExperimentConfig) -> float:
    """Returns the operations of a training step on one image, counted before compilation."""
    plain = dataclasses.replace(config, model=dataclasses.replace(config.model, kernels="plain"))
    lowered, _, _ = _lowered(plain, make_mesh(1))
    return float(lowered.cost_analysis()["flops"]) / config.train.batch_size


def _lowered(config: ExperimentConfig, mesh: Mesh) -> tuple[Any, TrainState, dict[str, jax.ShapeDtypeStruct]]:
    """The training step before it is compiled, and the shapes of its state and batch."""
    task = tasks.build(config.task)
    schedule = make_schedule(config.optimizer, total_steps=1000, warmup_steps=10)
    optimizer = make_optimizer(config.optimizer, schedule)
    network, state = abstract_state(config, optimizer)
    step = compile_train_step(mesh, config=config, network=network, task=task, optimizer=optimizer, schedule=schedule)
    batch = _batch_of(config, task)
    return step.lower(state, batch), state, batch  # type: ignore[attr-defined]


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


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
