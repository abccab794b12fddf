"""Phantoms without end: each example is rendered when it is asked for, and none is seen twice."""

from __future__ import annotations

import re
from typing import Literal, SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np

from boneage_jax.data.examples import Example, View, lay_out
from boneage_jax.errors import UserError
from boneage_jax.phantom import export, population, views
from boneage_jax.phantom.maturity import Variation
from boneage_jax.phantom.render import render

COUNT = 2**30
"""Children there are; more than any run sees."""


class FreshPhantoms:
    """A source of examples, rendered on the host's processor. The child of a number is always the same.

    Attributes:
      fingerprint: of view, size and seed.
    """

    def __init__(
        self,
        what: str,
        view: View,
        *,
        seed: int,
        ages: Literal["rsna", "even"] = "rsna",
        rater_sd: float = population.RATER_SD,
    ):
        """Prepares to render.

        Args:
          what: VIEW@HEIGHTxWIDTH, several sizes joined by +, as in `raw@520x400+480x480`.
          view: how examples are laid out.
          seed: of the children.
          ages: as in RSNA's training set, or evenly from birth to adulthood.
          rater_sd: standard deviation of a reading about the truth, in months.

        Raises:
          UserError: for views and sizes that cannot be.
        """
        match = re.fullmatch(r"(\w+)@(\d+x\d+(?:\+\d+x\d+)*)", what)
        if not match:
            raise UserError(f"data.fresh: found {what!r}, expected VIEW@HEIGHTxWIDTH, as in raw@520x400+480x480")
        self._exposure = views.view(match[1]).exposure
        sizes = [tuple(map(int, size.split("x"))) for size in match[2].split("+")]
        self._cameras = [views.view(match[1]).sized(height, width) for height, width in sizes]
        self._view, self._seed, self._rater_sd = view, seed, rater_sd
        self._sample = population.sample_ages if ages == "rsna" else population.sample_evenly
        self._device = jax.local_devices(backend="cpu")[0]
        self.fingerprint = f"fresh:{what}:{seed}:{ages}:{rater_sd}"

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: SupportsIndex) -> Example:
        n = int(index)
        # A stream of its own for each child: what NumPy recommends for independent draws.
        own = int(np.random.SeedSequence((self._seed, n)).generate_state(1)[0])
        ages, males = self._sample(own, 1)
        reading = population.read_ages(own + 1, ages, sd=self._rater_sd)
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
