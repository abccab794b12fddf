"""Named ways to take a phantom's picture; what builder configs and the command line choose from."""

from __future__ import annotations

import dataclasses

from boneage_jax.errors import UserError
from boneage_jax.phantom import exposure
from boneage_jax.phantom.exposure import Exposure
from boneage_jax.phantom.render import Camera


@dataclasses.dataclass(frozen=True)
class View:
    """A way to take pictures.

    Attributes:
      use: what for, in a few words.
      camera: how the hand lies; its size is replaced by the picture's own.
      exposure: how the picture is taken.
    """

    use: str
    camera: Camera
    exposure: Exposure

    def sized(self, height: int, width: int) -> Camera:
        """Returns its camera for pictures of a size in pixels. Raises `UserError` below 64."""
        return dataclasses.replace(self.camera, height=height, width=width)


VIEWS: dict[str, View] = {
    "plain": View(
        "upright hands, even exposure, nothing else in the picture: quick models and tests", Camera(), exposure.CLEAN
    ),
    "raw": View(
        "as acquired, all disturbances on: segmentation, key points, the whole chain",
        Camera(rotation=35.0, size=(0.40, 0.68), shift=0.07, mirror=0.25, lying=0.02),
        exposure.DISTURBED,
    ),
    "registered": View(
        "background gone, laid on the canvas of 2080 x 1600: age models", Camera(registered=True), exposure.MASKED
    ),
}


def view(name: str) -> View:
    """Returns a view by name. Raises `UserError` for unknown ones."""
    if name not in VIEWS:
        raise UserError(f"view {name!r}: expected one of {', '.join(VIEWS)}")
    return VIEWS[name]
