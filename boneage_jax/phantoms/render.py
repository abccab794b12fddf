"""From the shapes of a hand to a radiograph and its truth, in compiled JAX: same key, same pixels."""

from __future__ import annotations

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key, UInt8

from boneage_jax import anatomy
from boneage_jax.phantoms import exposure as exposures
from boneage_jax.phantoms import growth
from boneage_jax.phantoms.bone_thickness import draw_bones
from boneage_jax.phantoms.camera import Camera, Pose, draw_pose
from boneage_jax.phantoms.maturity import Variation
from boneage_jax.phantoms.soft_tissue_thickness import draw_soft_tissue


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["image", "mask", "instances", "key_points", "joints", "areas", "regions", "maturity"],
    meta_fields=[],
)
@dataclasses.dataclass(frozen=True)
class Phantom:
    """A rendered radiograph and its truth. Points are x, y in pixels; pixel centres lie at whole numbers.

    Attributes:
      image: grey levels in [0, 1], bone bright unless inverted.
      mask: the hand, soft tissue included, as far as it was exposed.
      instances: n where `anatomy.INSTANCES[n - 1]` is the thickest bone, 0 where there is none.
      key_points: of `anatomy.KEY_POINTS`.
      joints: of `anatomy.JOINTS`.
      areas: boxes x0, y0, x1, y1 of `anatomy.OSSIFICATION_AREAS`, as a human reader would draw them.
      regions: the corners of `anatomy.CANVAS_REGIONS`, from the top left clockwise as they lie on the canvas.
      maturity: bone age of each of `anatomy.BONES`, in months.
    """

    image: Float[Array, "h w"]
    mask: Bool[Array, "h w"]
    instances: UInt8[Array, "h w"]
    key_points: Float[Array, "3 2"]
    joints: Float[Array, "26 2"]
    areas: Float[Array, "17 4"]
    regions: Float[Array, "3 4 2"]
    maturity: Float[Array, " 30"]


def render(
    key: Key[Array, ""],
    age: Float[Array, ""],
    male: Float[Array, ""],
    camera: Camera = Camera(),
    variation: Variation = Variation(),
    exposure: exposures.Exposure = exposures.CLEAN,
    ages: Float[Array, " 30"] | None = None,
) -> Phantom:
    """Grows one hand and takes its radiograph. Fit for `jax.jit` and `jax.vmap`; its parts are compiled in any case.

    Args:
      key: source of everything random.
      age: bone age in months, 0 to 240.
      male: 1 for a boy, 0 for a girl.
      camera: how the hand lies.
      variation: how much children differ.
      exposure: how the image is taken.
      ages: bone ages set for single bones, NaN where they are not (`counterfactual` makes them): the same child in the
        same image, but for these bones.
    """
    key_scene, key_expose = jax.random.split(key)
    scene, truth = lay(key_scene, age, male, camera, variation, ages)
    image, mask = exposures.expose(key_expose, scene, exposure)
    return Phantom(image=image, mask=mask, **truth)


def lay(
    key: Key[Array, ""],
    age: Float[Array, ""],
    male: Float[Array, ""],
    camera: Camera,
    variation: Variation,
    ages: Float[Array, " 30"] | None = None,
) -> tuple[exposures.Scene, dict[str, Array]]:
    """Grows a hand and lays it before the camera, as `render` does.

    Returns:
      What the rays meet, and the fields of `Phantom` that do not depend on the exposure.
    """
    key_grow, key_pose = jax.random.split(key)
    samples = int(2 ** np.clip(math.ceil(math.log2(600.0 * camera.largest_scale)), 5, 9))
    # Growing takes most of the time that compiling takes, and is the same for most sizes of image.
    hand = growth.grow(key_grow, age, male, variation, ages, samples)
    return _lay(key_pose, hand, camera)


@functools.partial(jax.jit, static_argnames="camera")
def _lay(key: Key[Array, ""], hand: growth.Hand, camera: Camera) -> tuple[exposures.Scene, dict[str, Array]]:
    """Lays a hand before the camera."""
    pose = draw_pose(key, camera)
    bone, instances = draw_bones(hand, pose, camera)
    squared = draw_soft_tissue(hand, pose, camera)
    box = _hand_box(hand, pose, camera)
    scene = exposures.Scene(bone, jnp.sqrt(jnp.maximum(squared, 0.0)), squared > 0, box, pose.right)
    truth = {
        "instances": instances,
        "key_points": pose.to_pixels(hand.key_points),
        "joints": pose.to_pixels(hand.joints),
        "areas": _boxes(hand.areas, pose),
        "regions": pose.to_pixels(jnp.asarray(_REGION_CORNERS)),
        "maturity": hand.maturity,
    }
    return scene, truth


_REGION_CORNERS = np.array(
    [
        [(region.columns[i], region.rows[j]) for i, j in ((0, 0), (1, 0), (1, 1), (0, 1))]
        for region in anatomy.CANVAS_REGIONS
    ],
    np.float32,
)


def counterfactual(bones: str, months: float) -> Float[np.ndarray, " 30"]:
    """Returns `ages` for `render` that set some bones to another age.

    Args:
      bones: which, as `anatomy.select` takes them: `capitate`, `carpals`, `distal phalanx, ulna`.
      months: their new bone age, 0 to 240.

    Raises:
      UserError: for unknown bones and ages outside 0 to 240 months.
    """
    return np.where(anatomy.select(bones), anatomy.check_age(months), np.nan).astype(np.float32)


BELOW_WRIST, HALF_FOREARM, SKIN_MARGIN = 390.0, 150.0, 60.0
"""The box of a hand, which collimation and markers keep to: how far it reaches below the joints of the forearm, half
its width there, and a margin around all joints, in canvas pixels; chosen by eye, see docs/explanation/lab-notes.md."""


def _hand_box(hand: growth.Hand, pose: Pose, camera: Camera) -> Float[Array, " 4"]:
    """Bounding box in pixels of the soft tissue from the fingertips to a little below the wrist."""
    forearm = hand.joints[-2:] + jnp.array([0.0, BELOW_WRIST])
    sides = [forearm - jnp.array([HALF_FOREARM, 0]), forearm + jnp.array([HALF_FOREARM, 0])]
    points = pose.to_pixels(jnp.concatenate([hand.joints, *sides]))
    margin = SKIN_MARGIN * camera.height / anatomy.CANVAS[0]
    return jnp.concatenate([points.min(0) - margin, points.max(0) + margin])


def _boxes(areas: Float[Array, "17 4"], pose: Pose) -> Float[Array, "17 4"]:
    """Boxes along the image's axes; what they hold counts as an ellipse, for a joint is rounder than its box."""
    middle = pose.to_pixels(areas[:, :2])
    axes = [pose.to_pixels(areas[:, :2] + areas[:, 2:] / 2 * jnp.array(axis)) - middle for axis in ((1, 0), (0, 1))]
    half = jnp.hypot(*axes)
    return jnp.concatenate([middle - half, middle + half], -1)
