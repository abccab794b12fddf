"""A plan as text and as JSON."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from boneage_jax.planning.estimate import Plan


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
    """Returns a plan as a table of text."""
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
