"""From thickness of tissue to grey levels: attenuation, the detector, the processing, and what else is in the image.

Nothing here depends on age: bones and ages that differ change an image only where the bone is. All ranges were chosen
by eye beside real radiographs, see docs/explanation/lab-notes.md.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from boneage_jax.phantoms import artefacts
from boneage_jax.phantoms.filters import binomial, coarse, mean_within
from boneage_jax.phantoms.random_draws import RandomDraws


@dataclasses.dataclass(frozen=True)
class Exposure:
    """How an image is taken and processed. Pairs are ranges that are drawn from evenly.

    Attributes:
      bone_attenuation: range of the attenuation of bone over that of soft tissue, over their usual ratio.
      attenuation: range of the attenuation of all tissue: small gives nearly linear grey levels, large ones that
        saturate.
      contrast: range of the standard deviation of the tissue's grey levels; with `masked`, of the grey level of bone.
      brightness: range of the mean of the tissue's grey levels.
      scatter: range of the part of the radiation that is scattered.
      flattening: range of how much of the coarse structure the processing takes out.
      sharpening: range of the strength of the unsharp mask.
      gradient: largest change of brightness over the image.
      noise: range of the noise's standard deviation, for images of a contrast of 0.2 or more.
      blur: range of the detector's blur, in pixels.
      collimation: probability of a field with borders; beyond them the image is unexposed.
      marker: probability of a side marker, with initials or without.
      label: probability of a line of text.
      cassette: probability of the cassette's edge.
      faded: probability of an image whose grey levels were squeezed together before it was stored.
      inverted: probability of bone dark on bright.
      masked: whether all beyond the hand is set to 0 and its contrast is stretched, as after segmentation.
    """

    bone_attenuation: tuple[float, float] = (0.9, 1.8)
    attenuation: tuple[float, float] = (0.5, 1.3)
    contrast: tuple[float, float] = (0.18, 0.32)
    brightness: tuple[float, float] = (0.30, 0.48)
    scatter: tuple[float, float] = (0.0, 0.25)
    flattening: tuple[float, float] = (0.0, 0.0)
    sharpening: tuple[float, float] = (0.0, 0.8)
    gradient: float = 0.06
    noise: tuple[float, float] = (0.005, 0.025)
    blur: tuple[float, float] = (0.0, 0.6)
    collimation: float = 0.0
    marker: float = 0.0
    label: float = 0.0
    cassette: float = 0.0
    faded: float = 0.0
    inverted: float = 0.0
    masked: bool = False


CLEAN = Exposure()
"""An even exposure with noise, nothing in the image but the hand."""

DISTURBED = Exposure(
    bone_attenuation=(0.7, 2.6),
    attenuation=(0.3, 1.8),
    contrast=(0.02, 0.38),
    brightness=(0.22, 0.70),
    scatter=(0.0, 0.45),
    flattening=(0.0, 1.0),
    sharpening=(0.0, 2.0),
    gradient=0.25,
    noise=(0.0, 0.04),
    blur=(0.0, 1.2),
    collimation=0.55,
    marker=0.75,
    label=0.25,
    cassette=0.25,
    faded=0.25,
    inverted=0.08,
)
"""All disturbances at once, over wider ranges than in practice."""

MASKED = Exposure(
    bone_attenuation=(1.1, 2.6),
    attenuation=(0.3, 1.0),
    brightness=(0.30, 0.62),
    contrast=(0.68, 0.90),
    flattening=(0.0, 0.5),
    sharpening=(0.0, 1.6),
    noise=(0.0, 0.02),
    masked=True,
)
"""As segmentation leaves an image: nothing but the hand."""

SOFT_TISSUE_LENGTH = 330.0
"""Canvas pixels of soft tissue that absorb 1 - 1/e of the radiation, at an attenuation of 1."""

BONE_LENGTH = 105.0
"""Canvas pixels of bone that absorb as much, likewise."""

MIDDLING_BONE = 45 / 105
"""Thickness of bone in a metacarpal's shaft over `BONE_LENGTH`."""


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["bone", "soft_tissue", "inside", "box", "right"],
    meta_fields=[],
)
@dataclasses.dataclass(frozen=True)
class Scene:
    """What the radiation meets; thicknesses in canvas pixels.

    Attributes:
      bone: thickness of bone along each ray.
      soft_tissue: thickness of soft tissue along each ray.
      inside: whether a pixel shows the hand.
      box: bounding box of the hand in pixels: x0, y0, x1, y1.
      right: whether it is a right hand.
    """

    bone: Float[Array, "h w"]
    soft_tissue: Float[Array, "h w"]
    inside: Bool[Array, "h w"]
    box: Float[Array, " 4"]
    right: Bool[Array, ""]


@functools.partial(jax.jit, static_argnames="exposure")
def expose(key: Key[Array, ""], scene: Scene, exposure: Exposure) -> tuple[Float[Array, "h w"], Bool[Array, "h w"]]:
    """Takes the image.

    Args:
      key: source of everything that is drawn.
      scene: what the radiation meets.
      exposure: how the image is taken.

    Returns:
      Grey levels in [0, 1], and the hand as far as it lies within the exposed field.
    """
    scene_key, noise_key = jax.random.split(key)
    draws = RandomDraws(scene_key, 128)
    flattening, inverted = draws.uniform(*exposure.flattening), draws.bernoulli(exposure.inverted)
    floor = draws.uniform(0.02, 0.10)
    # Each has numbers of its own, used or not, so that what is left out does not change the rest.
    for_cassette, for_field, for_marker, for_label, for_levels = (draws.reserved(n) for n in (8, 16, 24, 24, 4))
    grey, contrast = _tissue(draws, scene, exposure)

    y, x = artefacts.unit_coordinates(grey.shape)
    tilt = exposure.gradient * draws.uniform(-1.0, 1.0, (3,))
    grey = grey + tilt[0] * y + tilt[1] * x + 0.5 * tilt[2] * (x**2 + y**2)

    field = jnp.ones(grey.shape)
    if exposure.cassette:
        grey = artefacts.add_cassette(for_cassette, grey, exposure.cassette)
    if exposure.collimation:
        grey, field = artefacts.collimate(for_field, grey, scene.box, exposure.collimation)
    if exposure.marker:
        grey = artefacts.add_marker(for_marker, grey, scene.box, scene.right, exposure.marker)
    if exposure.label:
        grey = artefacts.add_label(for_label, grey, exposure.label)
    if exposure.flattening[1]:
        structure = coarse(grey)
        grey = grey - flattening * (structure - jnp.mean(structure))

    grey = _developed(draws, noise_key, grey, contrast, exposure)
    mask = scene.inside & (field > 0.5)
    if exposure.masked:
        grey = jnp.where(mask, jnp.maximum(grey, floor), 0.0)
    if exposure.faded:
        squeezed = for_levels.uniform(0.3, 0.7) + for_levels.uniform(0.1, 0.8) * (jnp.clip(grey, 0, 1) - 0.5)
        grey = jnp.where(for_levels.bernoulli(exposure.faded), squeezed, grey)
    if exposure.inverted:
        grey = jnp.where(inverted, 1 - grey, grey)
    return jnp.clip(grey, 0.0, 1.0), mask


def _tissue(draws: RandomDraws, scene: Scene, exposure: Exposure) -> tuple[Float[Array, "h w"], Float[Array, ""]]:
    """Grey levels of the hand, and their contrast: absorbed radiation, scatter and the exposure's automatic control."""
    attenuation = draws.uniform(*exposure.attenuation)
    soft_tissue_only = 1 - jnp.exp(-attenuation * scene.soft_tissue / SOFT_TISSUE_LENGTH)
    bone_attenuation = draws.uniform(*exposure.bone_attenuation)
    level = 1 - jnp.exp(
        -attenuation * (scene.soft_tissue / SOFT_TISSUE_LENGTH + bone_attenuation * scene.bone / BONE_LENGTH)
    )
    # Scattered radiation follows the soft tissue at large: it fills the shadows around and under the bones.
    scattered = draws.uniform(*exposure.scatter)
    level = (1 - scattered) * level + scattered * coarse(soft_tissue_only)

    # The machine exposes for the hand at large, and so does this: by its soft tissue, which bones do not change.
    mean = mean_within(soft_tissue_only, scene.inside)
    spread = jnp.sqrt(mean_within((soft_tissue_only - mean) ** 2, scene.inside)) + 0.06
    brightness, contrast = draws.uniform(*exposure.brightness), draws.uniform(*exposure.contrast)
    if exposure.masked:
        # Stretched to the whole range, as after segmentation: middling bone becomes a bright grey.
        bone = 1 - (1 - mean) * jnp.exp(-attenuation * bone_attenuation * MIDDLING_BONE)
        slope = (contrast - brightness) / ((1 - scattered) * (bone - mean) + 1e-3)
    else:
        slope = 0.6 * contrast / spread
    return brightness + slope * (level - mean), contrast


def _developed(
    draws: RandomDraws, noise_key: Key[Array, ""], grey: Array, contrast: Array, exposure: Exposure
) -> Float[Array, "h w"]:
    """Adds noise, then blur and sharpening, which act on the noise as they do on the rest.

    An image of little contrast has little noise.
    """
    noise = draws.uniform(*exposure.noise) * jnp.clip(contrast / 0.2, 0.1, 1.0)
    grey = grey + noise * jax.random.normal(noise_key, grey.shape)
    blurred = binomial(grey)
    blur = draws.uniform(*exposure.blur)
    soft = grey + jnp.minimum(blur / 0.7, 1.0) * (blurred - grey)
    return soft + draws.uniform(*exposure.sharpening) * (grey - binomial(blurred)) * (blur < 0.35)
