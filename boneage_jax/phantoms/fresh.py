"""Endless phantoms: each example is rendered when it is read, and none is read twice."""

from __future__ import annotations

import dataclasses
import re
from typing import Literal, Self, SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np

from boneage_jax.data.examples import Example, View, lay_out
from boneage_jax.errors import UserError
from boneage_jax.phantoms import export, population, views
from boneage_jax.phantoms.maturity import Variation
from boneage_jax.phantoms.render import render

COUNT = 2**30
"""Number of children; more than any run reads."""


@dataclasses.dataclass(frozen=True)
class FreshSpec:
    """Which phantoms are rendered: VIEW@HEIGHTxWIDTH, several sizes joined by +, as in `raw@520x400+480x480`.

    Attributes:
      view: one of `views.VIEWS`.
      sizes: heights and widths in pixels; the n-th image has the n-th, over and over.
    """

    view: str
    sizes: tuple[tuple[int, int], ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads the text of `data.fresh`. Raises `UserError` for any other form."""
        match = re.fullmatch(r"(\w+)@(\d+x\d+(?:\+\d+x\d+)*)", text)
        if not match:
            raise UserError(f"data.fresh: found {text!r}, expected VIEW@HEIGHTxWIDTH, as in raw@520x400+480x480")
        pairs = (size.split("x") for size in match[2].split("+"))
        return cls(match[1], tuple((int(height), int(width)) for height, width in pairs))


class FreshPhantoms:
    """A source of examples, rendered on the host's processor; the n-th child is always the same.

    Attributes:
      fingerprint: of view, size and seed.
    """

    def __init__(
        self,
        phantoms: str,
        view: View,
        *,
        seed: int,
        ages: Literal["rsna", "even"] = "rsna",
        rater_sd: float = population.RATER_SD,
    ):
        """Prepares to render.

        Args:
          phantoms: text of a `FreshSpec`.
          view: how examples are laid out.
          seed: same seed, same children.
          ages: distributed as in RSNA's training set, or evenly from birth to adulthood.
          rater_sd: standard deviation of a reading about the truth, in months.

        Raises:
          UserError: for another form of text, unknown views and images that are too small.
        """
        spec = FreshSpec.parse(phantoms)
        chosen = views.view(spec.view)
        self._exposure = chosen.exposure
        self._cameras = [chosen.sized(height, width) for height, width in spec.sizes]
        self._view, self._seed, self._rater_sd = view, seed, rater_sd
        self._sample = population.sample_ages if ages == "rsna" else population.sample_evenly
        self._device = jax.local_devices(backend="cpu")[0]
        self.fingerprint = f"fresh:{phantoms}:{seed}:{ages}:{rater_sd}"

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: SupportsIndex) -> Example:
        n = int(index)
        # NumPy's way to independent seeds, one for each child.
        own_seed = int(np.random.SeedSequence((self._seed, n)).generate_state(1)[0])
        ages, males = self._sample(own_seed, 1)
        reading = population.read_ages(own_seed + 1, ages, sd=self._rater_sd)
        with jax.default_device(self._device):
            key = jax.random.fold_in(jax.random.key(self._seed), n)
            phantom = jax.device_get(
                render(
                    key,
                    jnp.float32(ages[0]),
                    jnp.float32(males[0]),
                    self._cameras[n % len(self._cameras)],
                    Variation(),
                    self._exposure,
                )
            )
        return lay_out(
            self._view,
            [export.grey(phantom)],
            male=float(males[0]),
            bone_age=float(reading[0]),
            mask=phantom.mask > 0,
            key_points=phantom.key_points,
        )
