"""Phantoms as files for people: an image with its truth, a strip or an animation over ages, a plate by age and sex."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Sequence

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8
from numpy.typing import ArrayLike
from PIL import Image

from boneage_jax import anatomy
from boneage_jax.errors import UserError
from boneage_jax.files import replacing, write_text
from boneage_jax.phantoms import render, views
from boneage_jax.phantoms.maturity import Variation
from boneage_jax.phantoms.request import PhantomRequest

PLATE_AGES = (3, 9, 18, 30, 48, 72, 96, 120, 144, 168, 192, 222)
"""Bone ages in months of a plate's columns; chosen by eye."""

FRAMES_PER_SECOND = 8
"""Speed of an animation over ages; chosen by eye."""


@dataclasses.dataclass(frozen=True)
class Subject:
    """A child, and how its radiograph is taken.

    Attributes:
      sex: M or F.
      seed: same seed, same child and same image, at any age.
      height: of the image, in pixels.
      width: of the image, in pixels.
      view: name of one of `views.VIEWS`.
      counterfactual: `BONES=MONTHS`, as in `carpals=120`: bones that are set to another bone age; empty for none.
    """

    sex: str = "F"
    seed: int = 0
    height: int = 1040
    width: int = 800
    view: str = "plain"
    counterfactual: str = ""


def draw(subject: Subject, age: float) -> render.Phantom:
    """Renders one phantom. Raises `UserError` for unknown sexes, bones and views, and ages or sizes out of range."""
    anatomy.check_age(age)
    chosen = views.view(subject.view)
    ages = None
    if subject.counterfactual:
        bones, _, months = subject.counterfactual.rpartition("=")
        try:
            ages = jnp.asarray(render.counterfactual(bones, float(months)))
        except ValueError as error:
            raise UserError(f"{subject.counterfactual!r}: expected BONES=MONTHS, as in 'carpals=120'") from error
    drawn: render.Phantom = render.render(
        jax.random.key(subject.seed),
        jnp.float32(age),
        jnp.float32(anatomy.is_male(subject.sex)),
        chosen.sized(subject.height, subject.width),
        Variation(),
        chosen.exposure,
        ages,
    )
    return jax.device_get(drawn)


def grey(phantom: render.Phantom) -> UInt8[np.ndarray, "h w"]:
    """Returns a phantom's image in 8 bits."""
    return np.round(np.asarray(phantom.image) * 255).astype(np.uint8)


def truth(phantom: render.Phantom) -> dict[str, object]:
    """Returns a phantom's truth without the masks, as JSON values; points in x, y pixels."""

    def named(names: Sequence[str], values: ArrayLike) -> dict[str, object]:
        return dict(zip(names, np.round(np.asarray(values, np.float64), 2).tolist(), strict=True))

    return {
        "bone_age_by_bone": named([bone.name for bone in anatomy.BONES], phantom.maturity),
        "key_points": named(anatomy.KEY_POINTS, phantom.key_points),
        "joints": named(anatomy.JOINTS, phantom.joints),
        "ossification_areas": named(anatomy.OSSIFICATION_AREAS, phantom.areas),
        "regions": named([region.name for region in anatomy.CANVAS_REGIONS], phantom.regions),
        "instances": {str(n + 1): name for n, name in enumerate(anatomy.INSTANCES)},
    }


def write(request: PhantomRequest) -> list[pathlib.Path]:
    """Writes what is asked for: one phantom of an age, one child at several ages, or a plate.

    Returns:
      The files written.

    Raises:
      UserError: as `write_one`, `write_sweep` and `write_plate` do.
    """
    height, width = request.size
    subject = Subject(request.sex, request.seed, height, width, request.view, request.counterfactual)
    if request.age is not None:
        return write_one(subject, request.age, request.out, with_truth=request.truth)
    if request.ages is not None:
        write_sweep(subject, request.ages, request.out)
    else:
        write_plate(subject, request.out)
    return [request.out]


def write_one(subject: Subject, age: float, path: pathlib.Path, *, with_truth: bool) -> list[pathlib.Path]:
    """Writes a phantom as a PNG; with its truth also as `.mask.png`, `.bones.png` and `.json` beside it.

    Returns:
      The files written.

    Raises:
      UserError: as `draw` does, for another file type, or a file that cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise UserError(f"{path}: expected a file named .png for one phantom; use --ages for a .gif")
    phantom = draw(subject, age)
    planes = {path: grey(phantom)}
    if with_truth:
        planes[path.with_suffix(".mask.png")] = np.asarray(phantom.mask).astype(np.uint8) * 255
        planes[path.with_suffix(".bones.png")] = np.asarray(phantom.instances)
    for file, plane in planes.items():
        _write(file, [plane])
    if not with_truth:
        return [path]
    notes = path.with_suffix(".json")
    facts = {"months": age, **dataclasses.asdict(subject), **truth(phantom)}
    write_text(notes, json.dumps(facts, indent=1) + "\n")
    return [*planes, notes]


def write_sweep(subject: Subject, ages: Sequence[float], path: pathlib.Path) -> None:
    """Writes one child at several ages: as an animation where the file is named `.gif`, as a strip where `.png`.

    Raises:
      UserError: as `write_one` does.
    """
    if path.suffix.lower() not in (".gif", ".png"):
        raise UserError(f"{path}: expected a file named .gif for an animation or .png for a strip")
    for age in ages:
        anatomy.check_age(age)
    frames = [_captioned(grey(draw(subject, age)), f"{age:g} months") for age in ages]
    _write(path, frames if path.suffix.lower() == ".gif" else [np.hstack(frames)])


def write_plate(subject: Subject, path: pathlib.Path) -> None:
    """Writes examples by age (columns) and sex (rows), in the subject's view.

    Raises:
      UserError: as `write_one` does.
    """
    if path.suffix.lower() != ".png":
        raise UserError(f"{path}: expected a file named .png for a plate")
    rows = []
    for row, sex in enumerate("FM"):
        images = []
        for column, age in enumerate(PLATE_AGES):
            child = dataclasses.replace(subject, sex=sex, seed=subject.seed + len(PLATE_AGES) * row + column)
            images.append(_captioned(grey(draw(child, age)), f"{sex} {age:g} months"))
        rows += [np.hstack(images[: len(images) // 2]), np.hstack(images[len(images) // 2 :])]
    _write(path, [np.vstack(rows)])


def _captioned(image: np.ndarray, text: str) -> np.ndarray:
    """The image over a dark strip with a line of text."""
    height = max(14, image.shape[0] // 24)
    strip = np.zeros((height, image.shape[1]), np.uint8)
    cv2.putText(strip, text, (4, height - height // 4), cv2.FONT_HERSHEY_SIMPLEX, height / 32, 220, 1, cv2.LINE_AA)
    return np.vstack([image, strip])


def _write(path: pathlib.Path, frames: list[np.ndarray]) -> None:
    images = [Image.fromarray(frame) for frame in frames]
    with replacing(path) as scratch:
        if path.suffix.lower() == ".gif":
            duration = 1000 // FRAMES_PER_SECOND
            images[0].save(scratch, format="GIF", save_all=True, append_images=images[1:], duration=duration, loop=0)
        else:
            images[0].save(scratch, format="PNG")
