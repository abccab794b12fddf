"""Where the joints of a hand lie, by age and sex, and how children differ: a linear model fitted to real hands.

The model was fitted to the boxes that human readers drew around the ossification areas of RSNA images (Koitka et al.
2018, doi 10.1371/journal.pone.0207496; 6 to 216 months), aligned on the canvas. A hand is 34 numbers: places of the
knuckles, length and direction of the segments beyond them, and the places of radius, ulna and wrist. Means follow age
and sex linearly, with a term of its own for toddlers; the rest is 12 modes of common variation and independent noise.
"""

from __future__ import annotations

import functools
import json
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from boneage_jax.phantoms.random_draws import RandomDraws

ASSET = pathlib.Path(__file__).with_name("layout.json")
"""The fitted numbers, written by `python -m benchmarks.phantom_layout`."""

PARAMETERS: tuple[str, ...] = (
    *(f"MCP {digit} {axis}" for digit in range(1, 6) for axis in "xy"),
    *(f"proximal phalanx {digit} {what}" for digit in range(1, 6) for what in ("log length", "angle")),
    *(f"middle phalanx {digit} {what}" for digit in range(2, 6) for what in ("log length", "bend")),
    *(f"{place} {axis}" for place in ("Radius", "Ulna", "Wrist") for axis in "xy"),
)
"""Lengths in canvas pixels; angles in radians from straight up to the thumb; a bend is an angle to the bone before."""


_UNTRUNCATED = 1.03
"""Factor on the deviation of normal draws, which `random_draws.CLIP` makes smaller; chosen by eye, see
docs/explanation/lab-notes.md."""


def features(age: Any, male: Any) -> Array:
    """Returns what the mean depends on: 1, age, toddlerhood and sex; shape (4,)."""
    age, male = jnp.asarray(age, jnp.float32), jnp.asarray(male, jnp.float32)
    return jnp.stack([jnp.ones_like(age), (age - 120) / 100, jnp.maximum(48 - age, 0) / 48, male])


def to_parameters(points: Float[np.ndarray, "... 17 2"]) -> np.ndarray:
    """From the centres of `anatomy.OSSIFICATION_AREAS` on the canvas to the model's numbers, shape (..., 34)."""
    dip, pip, mcp, rest = points[..., :4, :], points[..., 4:9, :], points[..., 9:14, :], points[..., 14:, :]
    proximal, middle = _polar(pip - mcp), _polar(dip - pip[..., 1:, :])
    middle[..., 1] -= proximal[..., 1:, 1]
    return np.concatenate([part.reshape(*part.shape[:-2], -1) for part in (mcp, proximal, middle, rest)], -1)


def _polar(vectors: np.ndarray) -> np.ndarray:
    length = np.log(np.linalg.norm(vectors, axis=-1))
    return np.stack([length, np.arctan2(vectors[..., 0], -vectors[..., 1])], -1)


def from_parameters(values: Float[Array, " 34"]) -> Float[Array, "17 2"]:
    """The inverse of `to_parameters` for one hand."""
    mcp = values[:10].reshape(5, 2)
    proximal, middle, rest = values[10:20].reshape(5, 2), values[20:28].reshape(4, 2), values[28:].reshape(3, 2)
    pip = mcp + _vector(proximal[:, 0], proximal[:, 1])
    dip = pip[1:] + _vector(middle[:, 0], middle[:, 1] + proximal[1:, 1])
    return jnp.concatenate([dip, pip, mcp, rest])


def _vector(log_length: Array, angle: Array) -> Array:
    return jnp.exp(log_length)[:, None] * jnp.stack([jnp.sin(angle), -jnp.cos(angle)], -1)


@functools.cache
def fitted() -> dict[str, np.ndarray]:
    """Returns the shipped numbers: `weights` by feature, `modes` and `rest`."""
    content = json.loads(ASSET.read_text(encoding="utf-8"))
    if tuple(content["parameters"]) != PARAMETERS:
        raise ValueError(f"{ASSET}: made for other parameters; run python -m benchmarks.phantom_layout")
    return {name: np.asarray(content[name], np.float32) for name in ("weights", "modes", "rest")}


def sample(
    key: Key[Array, ""], age: Float[Array, ""], male: Float[Array, ""], variation: Float[Array, ""] | float = 1.0
) -> Float[Array, "17 2"]:
    """Draws the centres of `anatomy.OSSIFICATION_AREAS` of one child on the canvas, before registration.

    Args:
      key: source of the individual.
      age: bone age in months; the fit covers 6 to 216, and ages beyond count as the nearest of these.
      male: 1 for a boy, 0 for a girl.
      variation: 0 gives the mean hand of that age and sex, 1 the spread of real ones.
    """
    numbers = fitted()
    draws = RandomDraws(key, len(numbers["modes"]) + len(PARAMETERS))
    modes, rest = draws.normal(_UNTRUNCATED, (len(numbers["modes"]),)), draws.normal(_UNTRUNCATED, (len(PARAMETERS),))
    mean = features(jnp.clip(age, 6.0, 216.0), male) @ numbers["weights"]
    return from_parameters(mean + variation * (modes @ numbers["modes"] + rest * numbers["rest"]))
