"""Named ways to take a phantom's radiograph; builder configs and the command line choose one by name."""

from __future__ import annotations

import dataclasses

from boneage_jax.errors import UserError
from boneage_jax.phantoms import exposure
from boneage_jax.phantoms.camera import Camera
from boneage_jax.phantoms.exposure import Exposure


@dataclasses.dataclass(frozen=True)
class PhantomView:
    """A way to take radiographs of phantoms.

    Attributes:
      use: what it shows and what it is for.
      camera: how the hand lies; its height and width are replaced.
      exposure: how the image is taken.
    """

    use: str
    camera: Camera
    exposure: Exposure

    def sized(self, height: int, width: int) -> Camera:
        """Returns its camera for images of a size in pixels. Raises `UserError` below 64."""
        return dataclasses.replace(self.camera, height=height, width=width)


VIEWS: dict[str, PhantomView] = {
    "plain": PhantomView(
        "upright hands, even exposure, nothing else in the image: quick models and tests", Camera(), exposure.CLEAN
    ),
    "raw": PhantomView(
        "as acquired, all disturbances on: segmentation, key points, the whole pipeline",
        Camera(rotation=35.0, size=(0.40, 0.68), shift=0.07, mirror=0.25, lying=0.02),
        exposure.DISTURBED,
    ),
    "registered": PhantomView(
        "background removed, laid on the canvas of 2080 x 1600: age models", Camera(registered=True), exposure.MASKED
    ),
}
"""The views by name; the ranges of the pose of `raw` are chosen by eye."""


def view(name: str) -> PhantomView:
    """Returns a view by name. Raises `UserError` for unknown ones."""
    if name not in VIEWS:
        raise UserError(f"view {name!r}: expected one of {', '.join(VIEWS)}")
    return VIEWS[name]
