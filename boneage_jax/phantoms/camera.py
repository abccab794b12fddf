"""How a hand lies in the image: its pose, drawn from a camera's ranges."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from boneage_jax import anatomy
from boneage_jax.errors import UserError
from boneage_jax.phantoms.random_draws import RandomDraws

MIN_SIDE = 64
"""Smallest height and width of an image, in pixels; chosen by eye."""

CANVAS_TIP_TO_CAPITATE = anatomy.CANVAS_CAPITATE[1] - anatomy.CANVAS_FINGERTIP[1]
"""Canvas pixels from the middle fingertip to the capitate."""

HAND_CENTRE = (860.0, 1010.0)
"""Middle of the hand without the forearm on the canvas; it goes near the middle of the image. Chosen by eye."""


@dataclasses.dataclass(frozen=True)
class Camera:
    """How the hand lies in the image; values are drawn evenly from ranges, whose defaults are chosen by eye.

    Attributes:
      height: of the image, in pixels; at least 64.
      width: of the image, in pixels; at least 64.
      rotation: largest rotation either way, in degrees.
      size: range of the distance from middle fingertip to capitate, as a fraction of the height.
      shift: largest shift either way, as a fraction of height and width.
      mirror: probability that the image shows the mirrored (right) hand.
      lying: probability that the hand is turned by a quarter either way besides.
      registered: lay the hand on the registered canvas instead, which is fitted into the middle of the image; of the
        above, only height and width are then used.

    Raises:
      UserError: for images that are too small.
    """

    height: int = 192
    width: int = 144
    rotation: float = 10.0
    size: tuple[float, float] = (0.56, 0.64)
    shift: float = 0.03
    mirror: float = 0.0
    lying: float = 0.0
    registered: bool = False

    def __post_init__(self) -> None:
        if min(self.height, self.width) < MIN_SIDE:
            raise UserError(
                f"image of {self.height} x {self.width}: expected a height and a width of at least {MIN_SIDE} pixels"
            )

    @property
    def largest_scale(self) -> float:
        """Largest number of image pixels for one canvas pixel, over all poses."""
        if self.registered:
            return min(self.height / anatomy.CANVAS[0], self.width / anatomy.CANVAS[1])
        return self.size[1] * self.height / CANVAS_TIP_TO_CAPITATE


@dataclasses.dataclass(frozen=True)
class Pose:
    """A similarity from the canvas to the image.

    Attributes:
      to_pixels: takes points on the canvas to points in the image, both x, y.
      scale: image pixels for one canvas pixel.
      right: whether the image shows a right hand: the similarity mirrors.
    """

    to_pixels: Callable[[Array], Array]
    scale: Float[Array, ""]
    right: Bool[Array, ""]


def draw_pose(key: Key[Array, ""], camera: Camera) -> Pose:
    """Draws a pose from a camera's ranges."""
    if camera.registered:
        scale = jnp.float32(camera.largest_scale)
        margin = (jnp.array([camera.width, camera.height]) - scale * jnp.array(anatomy.CANVAS[::-1])) / 2
        # Pixel centres lie at whole numbers on both sides.
        return Pose(lambda points: (points + 0.5) * scale + margin - 0.5, scale, jnp.zeros((), bool))
    draws = RandomDraws(key, 7)
    angle = jnp.deg2rad(camera.rotation) * draws.uniform(-1.0)
    quarter = jnp.where(draws.bernoulli(0.5), 1.0, -1.0) * draws.bernoulli(camera.lying)
    angle = angle + quarter * jnp.pi / 2
    reach = draws.uniform(*camera.size) * camera.height
    reach = jnp.where(quarter == 0, reach, reach * min(1.0, camera.width / camera.height))
    scale = reach / CANVAS_TIP_TO_CAPITATE
    shift = camera.shift * draws.uniform(-1.0, 1.0, (2,)) * jnp.array([camera.width, camera.height])
    right = draws.bernoulli(camera.mirror)
    c, s = jnp.cos(angle), jnp.sin(angle)
    turn = jnp.where(right, jnp.array([-1.0, 1.0]), jnp.ones(2))[:, None] * jnp.array([[c, s], [-s, c]])
    centre = jnp.array([camera.width / 2, camera.height * 0.5]) + shift
    return Pose(lambda points: (points - jnp.array(HAND_CENTRE)) @ turn * scale + centre, scale, right)
