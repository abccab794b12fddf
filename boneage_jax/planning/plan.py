"""`boneage plan`: memory, time and chip-hours of a run on chips that need not be there; one table, or JSON."""

from __future__ import annotations

import dataclasses
import math
import pathlib
import sys
from typing import Any

import jax
from jax.sharding import Mesh

from boneage_jax.config import Duration, ExperimentConfig
from boneage_jax.data.sources import Dataset
from boneage_jax.distributed.mesh import check_batch_size, make_mesh
from boneage_jax.errors import UserError
from boneage_jax.planning import chips
from boneage_jax.planning.chips import Chip, Topology
from boneage_jax.planning.collectives import Account, account, seconds_on_slice, seconds_on_switch
from boneage_jax.planning.cost import DoesNotFit, StepCost, step_cost, tpu_mesh

RSNA_IMAGES = 12_611
"""Of the training split, where the dataset is not there to be counted."""


@dataclasses.dataclass(frozen=True)
class PlanRequest:
    """What is planned.

    Attributes:
      config: the experiment.
      topology: slice of TPUs, as in `v5e:16x16`; empty for the devices that are here.
      batch_a_chip: images a chip, in place of the config's batch size; 0 for that.
      images: of the training split; 0 for those of the dataset, or RSNA's where it is not there.
      largest: whether to look for the largest batch that fits, which takes more compilations.
      scaling: whether to compile for a single chip too, to compare.
    """

    config: ExperimentConfig
    topology: str = ""
    batch_a_chip: int = 0
    images: int = 0
    largest: bool = True
    scaling: bool = True


@dataclasses.dataclass(frozen=True)
class Plan:
    """What comes out.

    Attributes:
      where: slice or devices, for people.
      chip: its rates; None where they are not known.
      count: of chips.
      batch_size: global.
      steps: of the run.
      cost: of a step on one chip, as it is trained.
      bytes: that the step reads and writes without the augmentation's resampling, which compilers count as if each of
        its gathers read whole pictures.
      purposes: what the collectives are for.
      seconds_arithmetic: of a step, at the chip's rate; None without rates, as the others.
      seconds_memory: likewise.
      seconds_links: of the collectives, one after the other and behind nothing.
      seconds_alone: bound of the same images on a single chip; None where it was not compiled.
      largest: most images a chip that fit; None where that was not looked for, or there is no limit to know.
      slices: weak scaling from a single chip to each usual slice up to this one, by name: the collectives of this
        program, over the links of that slice. Empty for other devices.
    """

    where: str
    chip: Chip | None
    count: int
    batch_size: int
    steps: int
    cost: StepCost
    bytes: float
    purposes: Account
    seconds_arithmetic: float | None
    seconds_memory: float | None
    seconds_links: float | None
    seconds_alone: float | None
    largest: int | None
    slices: dict[str, float]

    @property
    def seconds(self) -> float | None:
        """Of a step: the longer of arithmetic and memory, and then the links."""
        if self.seconds_arithmetic is None or self.seconds_memory is None or self.seconds_links is None:
            return None
        return max(self.seconds_arithmetic, self.seconds_memory) + self.seconds_links

    @property
    def images_a_second(self) -> float | None:
        """Of all chips."""
        return self.batch_size / self.seconds if self.seconds else None

    @property
    def hours(self) -> float | None:
        """Of the whole run."""
        return self.steps * self.seconds / 3600 if self.seconds else None

    @property
    def efficiency(self) -> float | None:
        """Weak scaling: time of a chip's images on it alone, over their time in the slice."""
        return self.seconds_alone / self.seconds if self.seconds and self.seconds_alone else None


def plan(request: PlanRequest) -> Plan:
    """Compiles the training step, and works out what it comes to.

    Raises:
      UserError: for slices that do not exist, batches that chips do not divide, and programs that do not fit.
    """
    topology = Topology.parse(request.topology) if request.topology else None
    mesh = tpu_mesh(request.topology) if topology else make_mesh(request.config.train.devices)
    config = request.config
    if request.batch_a_chip:
        config = _with_batch(config, request.batch_a_chip * mesh.size)
    check_batch_size("train.batch_size", config.train.batch_size, mesh, accumulation=config.train.accumulation)
    chip = topology.chip if topology else chips.of_device(mesh.devices.flat[0].device_kind)
    where = str(topology) if topology else f"{mesh.size} x {mesh.devices.flat[0].device_kind}"
    one = _single(topology, mesh)
    still = _still(config)
    try:
        _say(f"compiling for {where}")
        cost = step_cost(config, mesh)
        _say(f"compiling for {where}, without resampling")
        unmoved = cost if still == config else step_cost(still, mesh)
    except DoesNotFit as error:
        raise UserError(
            f"train.batch_size: found {config.train.batch_size}, {config.train.batch_size // mesh.size} images a chip, "
            f"which do not fit into its memory ({error}); lower it, raise train.accumulation, or choose larger chips"
        ) from error

    links = None
    if chip:
        links = (
            seconds_on_slice(cost.collectives, topology)
            if topology
            else seconds_on_switch(cost.collectives, chip, mesh.size)
        )
    alone = None
    if request.scaling and chip and mesh.size > one.size:
        _say(f"compiling for {'one chip' if one.size == 1 else f'{one.size} chips'}, without resampling")
        alone = step_cost(_with_batch(still, config.train.batch_size // mesh.size * one.size), one).bound(chip)
    return Plan(
        where,
        chip,
        mesh.size,
        config.train.batch_size,
        Duration.parse(config.train.length).in_steps(
            batch_size=config.train.batch_size, examples_per_epoch=request.images or _images(config)
        ),
        cost,
        unmoved.bytes,
        account(cost.collectives, cost.weights),
        cost.flops / chip.flops if chip else None,
        unmoved.bytes / chip.bandwidth if chip else None,
        links,
        alone,
        _largest(config, one, chip, cost) if request.largest and chip else None,
        _slices(topology, cost, alone, max(unmoved.flops / chip.flops, unmoved.bytes / chip.bandwidth))
        if topology and chip and alone
        else {},
    )


def _slices(topology: Topology, cost: StepCost, alone: float, bound: float) -> dict[str, float]:
    """Each chip has the same to do in every slice; what differs is the way to the others."""
    usual = [Topology.parse(f"{topology.kind}:{size}") for size in chips.SLICES[topology.kind]]
    smaller = [one for one in usual if 1 < one.count < topology.count]
    return {str(one): alone / (bound + seconds_on_slice(cost.collectives, one)) for one in [*smaller, topology]}


def _images(config: ExperimentConfig) -> int:
    if config.data.fresh:
        return RSNA_IMAGES
    try:
        dataset = Dataset.open(pathlib.Path(config.data.dir).expanduser(), config.data.name)
        return len(dataset.split(config.data.train_split))
    except UserError:
        _say(f"{config.data.name} is not built in {config.data.dir}: counting RSNA's {RSNA_IMAGES:,} training images")
        return RSNA_IMAGES


def _single(topology: Topology | None, mesh: Mesh) -> Mesh:
    """The smallest mesh of the same chips."""
    if topology is None:
        return make_mesh(1)
    return mesh if topology == topology.single else tpu_mesh(str(topology.single))


def _still(config: ExperimentConfig) -> ExperimentConfig:
    """The config without what resamples pictures; what it takes is one reading and one writing of them."""
    return dataclasses.replace(
        config, augment=dataclasses.replace(config.augment, shift=0.0, zoom=0.0, rotation=0.0, flip=0.0)
    )


def _with_batch(config: ExperimentConfig, batch_size: int) -> ExperimentConfig:
    return dataclasses.replace(config, train=dataclasses.replace(config.train, batch_size=batch_size))


_TRIES = 6
"""Sizes that are compiled at most in search of the largest batch: each takes minutes for a TPU."""

_CLOSE = 1.1
"""A size that fits and one that does not are not told apart any closer than by this factor."""


def _largest(config: ExperimentConfig, one: Mesh, chip: Chip, cost: StepCost) -> int:
    """Most images a chip that were compiled and fit.

    Memory grows as a straight line at first, which says the next size to compile. Near the limit TPU compilers work
    things out twice rather than keep them, and much more may fit than the line says: from there on the gap between
    what fits and what does not is halved.
    """
    unit = config.train.accumulation * (8 if cost.images >= 8 else 1)
    known = [(cost.images, float(cost.memory))]
    best = int(cost.images) if cost.memory <= chip.memory else 0
    too_large = math.inf
    for _ in range(_TRIES):
        if too_large <= _CLOSE * best + unit:
            break
        between = math.sqrt(best * too_large) if best else too_large / 2
        size = int(min(_on_the_line(known, chip.memory), between)) // unit * unit
        if too_large == math.inf:
            size = max(size, math.ceil(_CLOSE * best / unit) * unit, unit)
        if size <= best:
            break
        _say(f"compiling for {size} images a chip")
        try:
            needed = float(step_cost(_with_batch(config, size * one.size), one).memory)
            known.append((size, needed))
        except DoesNotFit:  # the compiler gives no size for what does not fit
            needed = math.inf
        if needed <= chip.memory:
            best = size
        else:
            too_large = size
    return best


def _on_the_line(known: list[tuple[float, float]], memory: float) -> float:
    """Images that a memory holds, by the straight line through the last two sizes, or through one and nothing."""
    images, needed = known[-1]
    if len(known) == 1:
        return images * memory / needed
    before, needed_before = known[-2]
    slope = (needed - needed_before) / (images - before)
    return images + (memory - needed) / slope if slope > 0 else 2 * images


def _say(text: str) -> None:
    print(f"plan: {text}", file=sys.stderr, flush=True)


def as_dict(found: Plan) -> dict[str, Any]:
    """Returns a plan as JSON can hold it."""
    return {
        "where": found.where,
        "chips": found.count,
        "chip": dataclasses.asdict(found.chip) if found.chip else None,
        "batch_size": found.batch_size,
        "images_a_chip": found.cost.images,
        "steps": found.steps,
        "memory": {**dataclasses.asdict(found.cost.kinds), "total": found.cost.memory},
        "flops": found.cost.flops,
        "bytes": found.bytes,
        "bytes_with_resampling_as_counted": found.cost.bytes,
        "collectives": {
            purpose: {"operations": count, "bytes": found.purposes.bytes.get(purpose, 0)}
            for purpose, count in found.purposes.operations.items()
        },
        "gradients_not_summed": [list(shape) for shape in found.purposes.missing] if found.count > 1 else [],
        "seconds": {
            "arithmetic": found.seconds_arithmetic,
            "memory": found.seconds_memory,
            "links": found.seconds_links,
            "step": found.seconds,
            "single_chip": found.seconds_alone,
        },
        "images_a_second": found.images_a_second,
        "hours": found.hours,
        "chip_hours": found.hours * found.count if found.hours else None,
        "largest_images_a_chip": found.largest,
        "weak_scaling_efficiency": found.efficiency,
        "weak_scaling_by_slice": found.slices,
        "jax": jax.__version__,
    }


def as_text(found: Plan) -> str:
    """Returns a plan for people."""
    kinds, mib = found.cost.kinds, 2**20
    limit = f" of {found.chip.memory / mib:,.0f} MiB" if found.chip else ""
    rows = [
        ("chips", f"{found.where} ({found.count})"),
        ("batch", f"{found.batch_size:,} images, {found.cost.images:g} a chip; {found.steps:,} steps"),
        ("", ""),
        ("memory a chip", f"{found.cost.memory / mib:,.0f} MiB{limit}"),
        *((f"  {name}", f"{value / mib:,.1f} MiB") for name, value in dataclasses.asdict(kinds).items()),
    ]
    if found.largest is not None:
        rows.append(("largest batch", f"{found.largest:,} images a chip, {found.largest * found.count:,} in all"))
    rows += [
        ("", ""),
        ("arithmetic a chip", f"{found.cost.flops / 1e12:.3f} TFLOP{_ms(found.seconds_arithmetic)}"),
        ("memory traffic", f"{found.bytes / 1e9:.2f} GB{_ms(found.seconds_memory)}"),
        ("links", f"{sum(found.purposes.bytes.values()) / 1e6:.2f} MB{_ms(found.seconds_links)}"),
        *(
            (f"  {purpose}", f"{count} operations, {found.purposes.bytes.get(purpose, 0) / 1e6:.3f} MB")
            for purpose, count in found.purposes.operations.items()
        ),
    ]
    if found.count > 1 and found.purposes.missing:
        rows.append(("  gradients not summed", ", ".join(map(str, found.purposes.missing))))
    if found.seconds and found.hours and found.images_a_second:
        bound = "memory" if (found.seconds_memory or 0) > (found.seconds_arithmetic or 0) else "arithmetic"
        rows += [
            ("", ""),
            ("step", f"{1e3 * found.seconds:.2f} ms, bound by {bound}; {found.images_a_second:,.0f} images/s"),
            ("run", f"{found.hours:.3g} hours, {found.hours * found.count:.3g} chip-hours"),
        ]
    if found.slices:
        rows += [("weak scaling", f"{name} {100 * value:.1f}%") for name, value in found.slices.items()]
    elif found.efficiency is not None:
        rows.append(("weak scaling", f"{100 * found.efficiency:.1f}% of as many single chips"))
    lines = [f"{name:<26}{text}".rstrip() for name, text in rows]
    if found.chip:
        lines.append(
            f"\nBounds from published rates, not measurements: {found.chip.source}. The augmentation's resampling is "
            "not in the memory traffic."
        )
    else:
        lines.append("\nNo rates are known of these devices: name a slice with --topology for times.")
    return "\n".join(lines)


def _ms(seconds: float | None) -> str:
    return f", {1e3 * seconds:.2f} ms" if seconds is not None else ""
