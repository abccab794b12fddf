"""Fixed patterns that images are made of: trabeculae and the letters of markers. Drawn once, by NumPy and OpenCV.

Their numbers are chosen by eye beside registered radiographs, see docs/explanation/lab-notes.md.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np
from jaxtyping import Float

SIDE = 256
"""Texels along each side of the trabecular pattern, which repeats."""

FINEST = 1.5
"""Canvas pixels that a texel covers at least."""

LETTERS = "LRABCDEFGHIJKMNOPSTUVW0123456789"
"""Characters that markers are made of; the first two name the sides."""

GLYPH = 32
"""Pixels along each side of a letter's tile."""


@functools.cache
def trabeculae(texel: float) -> Float[np.ndarray, "256 256"]:
    """Returns a mesh of struts that run mainly along the first axis: mean 0, deviation 1 where all is resolved.

    Args:
      texel: canvas pixels that a texel covers; what is finer than two of them is left out, so a coarse mesh is fainter.
    """
    generator = np.random.default_rng(1895)
    along, across = np.fft.fftfreq(SIDE, texel)[:, None], np.fft.rfftfreq(SIDE, texel)[None, :]
    # Struts 9 canvas pixels apart and drawn out along the bone, as in registered radiographs; slower changes besides.
    distance = np.hypot(1.8 * along, across)
    band = np.exp(-0.5 * ((distance - 1 / 9) / 0.04) ** 2) + 0.35 * np.exp(-0.5 * (distance / 0.02) ** 2)
    cycles = 1 / texel
    waves = [np.fft.irfft2(np.fft.rfft2(generator.normal(size=(SIDE, SIDE))) * band * cycles) for _ in range(2)]
    power = np.sqrt(np.pi * 0.11 * 0.04 / 1.8 * 2)
    mesh = -np.abs(waves[0] / power) + 0.6 * waves[1] / power
    return np.clip(mesh - mesh.mean(), -2.5, 2.5).astype(np.float32)


@functools.cache
def glyphs() -> Float[np.ndarray, "32 32 32"]:
    """Returns one tile for each of `LETTERS`, 1 on the letter and 0 beside it."""
    tiles = []
    for letter in LETTERS:
        tile = np.zeros((4 * GLYPH, 4 * GLYPH), np.uint8)
        (width, height), _ = cv2.getTextSize(letter, cv2.FONT_HERSHEY_SIMPLEX, 4.0, 14)
        corner = ((tile.shape[1] - width) // 2, (tile.shape[0] + height) // 2)
        cv2.putText(tile, letter, corner, cv2.FONT_HERSHEY_SIMPLEX, 4.0, 255, 14, cv2.LINE_AA)
        tiles.append(cv2.resize(tile, (GLYPH, GLYPH), interpolation=cv2.INTER_AREA))
    return np.stack(tiles).astype(np.float32) / 255
