"""How results look in a notebook."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping

import cv2
import numpy as np
from jaxtyping import UInt8

from boneage_jax.data.images import ImageError


def png(image: UInt8[np.ndarray, "h w *c"]) -> bytes:
    """Returns a grey or RGB image as PNG."""
    done, data = cv2.imencode(".png", image if image.ndim == 2 else image[..., ::-1])
    if not done:
        raise ImageError("OpenCV could not encode the image as PNG")
    return data.tobytes()


def beside(image: UInt8[np.ndarray, "h w *c"], facts: Mapping[str, str], notice: str) -> str:
    """Returns HTML of an image with facts by label beside it and a notice below.

    Args:
      image: grey or RGB.
      facts: texts by label; empty ones are left out.
      notice: what the facts may not be used for.
    """
    data = base64.b64encode(png(image)).decode()
    rows = "".join(
        f"<tr><th style='text-align:left'>{html.escape(label)}</th>"
        f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
        for label, text in facts.items()
        if text
    )
    alt = html.escape("; ".join(f"{label}: {text}" for label, text in facts.items() if text), quote=True)
    return (
        "<div style='display:flex;flex-wrap:wrap;gap:1em;align-items:flex-start'>"
        f"<img style='max-height:24em;background:#000' alt='{alt}' src='data:image/png;base64,{data}'>"
        f"<div><table>{rows}</table><p style='max-width:32em'><small>{html.escape(notice)}</small></p></div></div>"
    )
