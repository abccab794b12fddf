"""Rendered hands whose truth is known, as the Python API offers them."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float32

from boneage_jax import NOT_A_MEDICAL_DEVICE, anatomy
from boneage_jax.api import notebook
from boneage_jax.data.images import Grey
from boneage_jax.data.labels import SEX_LETTERS
from boneage_jax.phantoms import export
from boneage_jax.workflows import pictures


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class PhantomRadiograph:
    """A rendered radiograph and its truth. Points are x, y in pixels; pixel centres lie at whole numbers.

    Attributes:
      image: grey levels, uint8 of shape (height, width).
      months: bone age that it was drawn for.
      sex: `M` or `F`.
      seed: of the child and of the image.
      view: how it was taken, of `phantoms.views.VIEWS`.
      mask: whether a pixel shows the hand, of the image's shape.
      key_points: of `anatomy.KEY_POINTS` (middle fingertip, thumb tip, capitate), of shape (3, 2).
      bone_ages: bone age of each of the 30 bones by name, in months; they scatter about `months`.
    """

    image: Grey
    months: float
    sex: str
    seed: int
    view: str
    mask: Bool[np.ndarray, "h w"]
    key_points: Float32[np.ndarray, "3 2"]
    bone_ages: dict[str, float]

    @property
    def name(self) -> str:
        """As in `phantom F 120 months, seed 0`."""
        return f"phantom {self.sex} {self.months:g} months, seed {self.seed}"

    def __repr__(self) -> str:
        height, width = self.image.shape
        return f"PhantomRadiograph({self.name}, {self.view}, {height} x {width})"

    def _repr_png_(self) -> bytes:
        return notebook.png(self.image)

    def _repr_html_(self) -> str:
        drawn = pictures.overlay(self.image, self.mask, self.key_points, side=max(self.image.shape))
        facts = {"phantom": f"seed {self.seed}, {self.view}", "bone age": f"{self.months:g} months", "sex": self.sex}
        return notebook.beside(drawn, facts, NOT_A_MEDICAL_DEVICE)


def phantom(
    age: float,
    sex: str = "F",
    seed: int = 0,
    *,
    view: str = "plain",
    size: tuple[int, int] = (1040, 800),
    counterfactual: str = "",
) -> PhantomRadiograph:
    """Renders a hand whose truth is known: what `boneage phantom` draws.

    Args:
      age: bone age in months, 0 to 240.
      sex: `M` or `F`.
      seed: same seed, same child and same image, at any age.
      view: `plain`; `raw`, as acquired, with all disturbances; `registered`, background gone, on the canvas.
      size: height and width in pixels, at least 64.
      counterfactual: `BONES=MONTHS`, as in `carpals=120`: bones set to an age of their own, in the same child and
        image otherwise; empty for none.

    Raises:
      UserError: for ages, sexes, views, sizes and bones that cannot be.
    """
    drawn = export.draw(export.Subject(sex, seed, *size, view, counterfactual), age)
    return PhantomRadiograph(
        image=export.grey(drawn),
        months=float(age),
        sex=SEX_LETTERS[anatomy.is_male(sex)],
        seed=seed,
        view=view,
        mask=np.asarray(drawn.mask) > 0,
        key_points=np.asarray(drawn.key_points),
        bone_ages=dict(zip((bone.name for bone in anatomy.BONES), np.asarray(drawn.maturity).tolist(), strict=True)),
    )
