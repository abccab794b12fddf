"""`boneage plan`: memory, time and chip-hours of a run on chips that need not be there."""

from __future__ import annotations

import dataclasses

from jax.sharding import Mesh

from boneage_jax.config import Duration, ExperimentConfig
from boneage_jax.data.reading import epoch_of
from boneage_jax.data.sources import Dataset
from boneage_jax.distributed.mesh import check_batch_size, make_mesh
from boneage_jax.errors import UserError
from boneage_jax.planning import chips
from boneage_jax.planning.chips import Topology
from boneage_jax.planning.collectives import account, seconds_on_slice, seconds_on_switch
from boneage_jax.planning.cost import DoesNotFit, StepCost, step_cost, tpu_mesh, with_batch
from boneage_jax.planning.estimate import Plan
from boneage_jax.planning.largest import largest_batch
from boneage_jax.planning.progress import say
from boneage_jax.planning.report import as_dict, as_text
from boneage_jax.planning.request import PlanRequest

__all__ = ["Plan", "PlanRequest", "as_dict", "as_text", "plan"]

RSNA_IMAGES = 12_611
"""Images of RSNA's training split (Halabi et al. 2019), where the dataset is not there to be counted."""


def plan(request: PlanRequest) -> Plan:
    """Compiles the training step, and returns its cost and that of the run.

    Raises:
      UserError: for slices that do not exist, batches that chips do not divide, and programs that do not fit.
    """
    topology = Topology.parse(request.topology) if request.topology else None
    mesh = tpu_mesh(request.topology) if topology else make_mesh(request.config.train.devices)
    config = request.config
    if request.batch_a_chip:
        config = with_batch(config, request.batch_a_chip * mesh.size)
    check_batch_size("train.batch_size", config.train.batch_size, mesh, accumulation=config.train.accumulation)
    chip = topology.chip if topology else chips.of_device(mesh.devices.flat[0].device_kind)
    where = str(topology) if topology else f"{mesh.size} x {mesh.devices.flat[0].device_kind}"
    one = _single(topology, mesh)
    still = _still(config)
    try:
        say(f"compiling for {where}")
        cost = step_cost(config, mesh)
        say(f"compiling for {where}, without resampling")
        unmoved = cost if still == config else step_cost(still, mesh)
    except DoesNotFit as error:
        raise UserError(
            f"train.batch_size: found {config.train.batch_size}, {config.train.batch_size // mesh.size} images a chip, "
            f"which do not fit into its memory ({error}); lower it, raise train.accumulation, or choose larger chips"
        ) from error

    alone = None
    if request.scaling and chip and mesh.size > one.size:
        say(f"compiling for {'one chip' if one.size == 1 else f'{one.size} chips'}, without resampling")
        alone = step_cost(with_batch(still, config.train.batch_size // mesh.size * one.size), one).bound(chip)
    steps = Duration.parse(config.train.length).in_steps(
        batch_size=config.train.batch_size, examples_per_epoch=epoch_of(request.images or _images(config), config.data)
    )
    found = Plan(
        where=where,
        chip=chip,
        count=mesh.size,
        batch_size=config.train.batch_size,
        steps=steps,
        cost=cost,
        bytes=unmoved.bytes,
        purposes=account(cost.collectives, cost.weights),
        seconds_alone=alone,
    )
    if chip is None:
        return found
    if topology:
        links = seconds_on_slice(cost.collectives, topology)
    else:
        links = seconds_on_switch(cost.collectives, chip, mesh.size)
    return dataclasses.replace(
        found,
        seconds_arithmetic=cost.flops / chip.flops,
        seconds_memory=unmoved.bytes / chip.bandwidth,
        seconds_links=links,
        largest=largest_batch(config, one, chip, cost) if request.largest else None,
        slices=_slices(topology, cost, alone, unmoved.bound(chip)) if topology and alone else {},
    )


def _slices(topology: Topology, cost: StepCost, alone: float, bound: float) -> dict[str, float]:
    """Efficiency of weak scaling in each usual slice up to this one: chips compute the same, and only links differ."""
    usual = [Topology.parse(f"{topology.kind}:{size}") for size in chips.SLICES[topology.kind]]
    smaller = [one for one in usual if 1 < one.count < topology.count]
    return {str(one): alone / (bound + seconds_on_slice(cost.collectives, one)) for one in [*smaller, topology]}


def _images(config: ExperimentConfig) -> int:
    if config.data.fresh:
        return RSNA_IMAGES
    try:
        dataset = Dataset.of(config.data)
        return len(dataset.split(config.data.train_split))
    except UserError:
        say(f"{config.data.name} is not built in {config.data.dir}: counting RSNA's {RSNA_IMAGES:,} training images")
        return RSNA_IMAGES


def _single(topology: Topology | None, mesh: Mesh) -> Mesh:
    """The smallest mesh of the same chips."""
    if topology is None:
        return make_mesh(1)
    return mesh if topology == topology.single else tpu_mesh(str(topology.single))


def _still(config: ExperimentConfig) -> ExperimentConfig:
    """The config without resampling of images, which takes one reading and one writing of them."""
    return dataclasses.replace(
        config, augment=dataclasses.replace(config.augment, shift=0.0, zoom=0.0, rotation=0.0, flip=0.0)
    )
