"""A registered hand, as the Python API returns it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, UInt8

from boneage_jax import NOT_A_MEDICAL_DEVICE, anatomy
from boneage_jax.api import notebook
from boneage_jax.canvas import Canvas
from boneage_jax.data.images import Grey
from boneage_jax.geometry import Similarity
from boneage_jax.hand import register
from boneage_jax.hand.pipeline import Registered
from boneage_jax.hand.regions import named
from boneage_jax.region_spec import WHOLE
from boneage_jax.workflows import pictures
from boneage_jax.workflows.assessment import UNCALIBRATED

OVERLAY_SIDE = 640
"""Largest height and width of an overlay, in pixels."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class RegisteredHand:
    """A hand that was found in a radiograph, and how it lies on the common canvas.

    Attributes:
      name: of the radiograph.
      image: the radiograph, turned by the degrees of `turned`, grey levels, uint8 of shape (height, width).
      mask: whether a pixel of it shows the hand, of the same shape.
      key_points: x, y of `anatomy.KEY_POINTS` (middle fingertip, thumb tip, capitate) in pixels of the radiograph, of
        shape (3, 2); None where there is no hand.
      flags: reasons to look at the hand before it is used; empty where there are none.
      measures: what quality control measured, by name; see `hand.quality.Thresholds`.
      calibrated: whether the thresholds behind the flags were chosen for the networks that found the hand.
      to_canvas: from pixels of the radiograph to those of the canvas; None where there is no hand.
      canvas: that the hand is laid on.
      turned: degrees that the radiograph was turned by, counterclockwise, so that the hand stands upright: 0, 90, 180
        or 270; `numpy.rot90(mask, -turned // 90)` lies on the radiograph as it was read.
    """

    name: str
    image: Grey
    mask: Bool[np.ndarray, "h w"]
    key_points: Float[np.ndarray, "3 2"] | None
    flags: tuple[str, ...]
    measures: Mapping[str, float]
    calibrated: bool
    to_canvas: Similarity | None
    canvas: Canvas
    turned: int
    _registration: register.Registration | None

    @classmethod
    def of(cls, name: str, image: Grey, found: Registered, canvas: Canvas, *, turned: int = 0) -> RegisteredHand:
        """Returns what the pipeline found in a radiograph."""
        placed, quality = found.registration, found.quality
        return cls(
            name=name,
            image=image,
            mask=found.mask.inside,
            key_points=placed.key_points if placed else None,
            flags=quality.flags,
            measures=quality.measures,
            calibrated=quality.calibrated,
            to_canvas=placed.to_canvas if placed else None,
            canvas=canvas,
            turned=turned,
            _registration=placed,
        )

    @functools.cached_property
    def regions(self) -> dict[str, Grey]:
        """The registered regions by name, uint8: `whole`, the canvas at a quarter of its size, and `A`, `B`, `C`.

        Background is 0, bone is bright. A, B and C are known on the paper's canvas alone; empty where there is no hand.
        """
        names = (WHOLE, *(region.name for region in anatomy.CANVAS_REGIONS if self.canvas == Canvas()))
        return self.cut(*names)

    def cut(self, *regions: str) -> dict[str, Grey]:
        """Returns other regions of the registered hand by name, each sampled once from the radiograph's own pixels.

        Args:
          *regions: as in `A@250x188` or `wrist=1500:2000,400:1200@250x400`: rows and columns of the canvas, then height
            and width of the image that is cut, in pixels.

        Returns:
          uint8 images by name; empty where there is no hand.

        Raises:
          UserError: for regions that cannot be read.
        """
        wanted = named(list(regions), self.canvas)
        if self._registration is None:
            return {}
        return register.cut(self.image, self.mask, self._registration, wanted)

    @functools.cached_property
    def overlay(self) -> UInt8[np.ndarray, "h w 3"]:
        """The radiograph with the hand's outline and the key points drawn on it, RGB, at most 640 pixels a side."""
        return pictures.overlay(self.image, self.mask, self.key_points, side=OVERLAY_SIDE)

    @property
    def _shown_flags(self) -> str:
        mark = "" if self.calibrated else f" ({UNCALIBRATED})"
        return ", ".join(f"{flag}{mark}" for flag in self.flags) or "none"

    def __repr__(self) -> str:
        found = f"key points at {np.round(self.key_points).astype(int).tolist()}" if self.key_points is not None else ""
        return f"RegisteredHand({self.name}: {found or 'no hand'}; flags: {self._shown_flags})"

    def _repr_png_(self) -> bytes:
        return notebook.png(self.overlay)

    def _repr_html_(self) -> str:
        facts = {"radiograph": self.name, "flags": self._shown_flags}
        return notebook.beside(self.overlay, facts, NOT_A_MEDICAL_DEVICE)
