"""Changes of a radiograph that a reader of bone ages should not mind: each a function of grey levels and of a seed.

Strengths are chosen by eye, from what scanners, archives and people do to radiographs; lengths are parts of the
image's own, so that they mean the same at any resolution.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import cv2
import numpy as np

from boneage_jax.data.images import Grey

Change = Callable[[Grey, np.random.Generator], Grey]


@dataclasses.dataclass(frozen=True)
class Transformation:
    """One change.

    Attributes:
      name: for tables and for choosing.
      kind: what it imitates, as in `exposure`.
      change: returns the changed image; random ones draw from the generator that they are given.
    """

    name: str
    kind: str
    change: Change

    @property
    def slug(self) -> str:
        """The name as part of a file's name."""
        return "".join(c if c.isalnum() else "-" for c in self.name)


def _unchanged(image: Grey, _: np.random.Generator) -> Grey:
    return image


def _turned(image: Grey, _: np.random.Generator, degrees: float) -> Grey:
    """Turned about its middle; corners that come in from outside are black, and the image grows to keep all of it."""
    h, w = image.shape
    matrix = cv2.getRotationMatrix2D(((w - 1) / 2, (h - 1) / 2), degrees, 1.0)
    cos, sin = abs(matrix[0, 0]), abs(matrix[0, 1])
    width, height = round(h * sin + w * cos), round(h * cos + w * sin)
    matrix[:, 2] += ((width - w) / 2, (height - h) / 2)
    return cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR)


def _quarter(image: Grey, _: np.random.Generator, turns: int) -> Grey:
    return np.ascontiguousarray(np.rot90(image, turns))


def _mirrored(image: Grey, _: np.random.Generator) -> Grey:
    return np.ascontiguousarray(image[:, ::-1])


def _levels(image: Grey, _: np.random.Generator, levels: Callable[[np.ndarray], np.ndarray]) -> Grey:
    """Every grey level, as a number of [0, 1], replaced."""
    table = np.clip(levels(np.arange(256) / 255.0), 0.0, 1.0)
    return np.round(255 * table).astype(np.uint8)[image]


def _exposed(gain: float = 1.0, shift: float = 0.0, gamma: float = 1.0) -> Change:
    return functools.partial(_levels, levels=lambda x: (x**gamma - 0.5) * gain + 0.5 + shift)


def _inverted(image: Grey, _: np.random.Generator) -> Grey:
    return np.invert(image)


def _gradient(image: Grey, _: np.random.Generator) -> Grey:
    """Exposure falling off from left to right, as of a tube beside the middle."""
    return np.round(image * np.linspace(1.0, 0.5, image.shape[1])).astype(np.uint8)


def _noisy(image: Grey, draws: np.random.Generator, sd: float) -> Grey:
    return np.clip(np.round(image + draws.normal(0.0, sd, image.shape)), 0, 255).astype(np.uint8)


def _blurred(image: Grey, _: np.random.Generator, part: float) -> Grey:
    return cv2.GaussianBlur(image, (0, 0), part * min(image.shape))


def _sharpened(image: Grey, _: np.random.Generator, part: float) -> Grey:
    soft = cv2.GaussianBlur(image, (0, 0), part * min(image.shape)).astype(np.float32)
    return np.clip(np.round(2.0 * image - soft), 0, 255).astype(np.uint8)


def _coarser(image: Grey, _: np.random.Generator, side: int) -> Grey:
    """Reduced to so many pixels on the shorter side, where it has more."""
    scale = min(1.0, side / min(image.shape))
    h, w = (max(1, round(length * scale)) for length in image.shape)
    return cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA)


def _equalised(image: Grey, _: np.random.Generator) -> Grey:
    """Contrast-limited adaptive equalisation, as many archives show radiographs."""
    return cv2.createCLAHE(clipLimit=3.0, tileGridSize=(8, 8)).apply(image)


def _cropped(image: Grey, _: np.random.Generator, part: float) -> Grey:
    h, w = image.shape
    y, x = round(part * h), round(part * w)
    return np.ascontiguousarray(image[y : h - y, x : w - x])


def _without_bottom(image: Grey, _: np.random.Generator, part: float) -> Grey:
    return np.ascontiguousarray(image[: image.shape[0] - round(part * image.shape[0])])


def _bordered(image: Grey, _: np.random.Generator, part: float, level: int) -> Grey:
    border = round(part * min(image.shape))
    return np.pad(image, border, constant_values=level)


def _marked(image: Grey, draws: np.random.Generator) -> Grey:
    """A bright marker with a letter near an upper corner."""
    marked = image.copy()
    side = round(0.12 * min(image.shape))
    x = round(0.03 * image.shape[1]) if draws.random() < 0.5 else image.shape[1] - side - round(0.03 * image.shape[1])
    y = round(0.03 * image.shape[0])
    cv2.rectangle(marked, (x, y), (x + side, y + side), 255, -1)
    place = (x + side // 5, y + side - side // 5)
    cv2.putText(marked, "L", place, cv2.FONT_HERSHEY_SIMPLEX, side / 30, 0, max(1, side // 10), cv2.LINE_AA)
    return marked


def _captioned(image: Grey, _: np.random.Generator) -> Grey:
    """A line of text burnt into the top."""
    marked, height = image.copy(), min(image.shape) / 299
    place = (round(6 * height), round(16 * height))
    font, thickness = cv2.FONT_HERSHEY_SIMPLEX, max(1, round(height))
    cv2.putText(marked, "HAND PA  2017-05-04  R", place, font, 0.45 * height, 255, thickness, cv2.LINE_AA)
    return marked


def _jpeg(image: Grey, _: np.random.Generator, quality: int) -> Grey:
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE))


UNCHANGED = Transformation("unchanged", "", _unchanged)
"""What all others are compared with."""

TRANSFORMATIONS = (
    Transformation("turned by 10 degrees", "pose", functools.partial(_turned, degrees=10)),
    Transformation("turned by -10 degrees", "pose", functools.partial(_turned, degrees=-10)),
    Transformation("turned by 30 degrees", "pose", functools.partial(_turned, degrees=30)),
    Transformation("lying to the left", "pose", functools.partial(_quarter, turns=1)),
    Transformation("lying to the right", "pose", functools.partial(_quarter, turns=3)),
    Transformation("upside down", "pose", functools.partial(_quarter, turns=2)),
    Transformation("mirrored", "pose", _mirrored),
    Transformation("brighter", "exposure", _exposed(shift=0.15)),
    Transformation("darker", "exposure", _exposed(shift=-0.15)),
    Transformation("contrast x 0.5", "exposure", _exposed(gain=0.5)),
    Transformation("contrast x 1.5", "exposure", _exposed(gain=1.5)),
    Transformation("gamma 0.6", "exposure", _exposed(gamma=0.6)),
    Transformation("gamma 1.7", "exposure", _exposed(gamma=1.7)),
    Transformation("inverted", "exposure", _inverted),
    Transformation("uneven exposure", "exposure", _gradient),
    Transformation("equalised", "exposure", _equalised),
    Transformation("noise, SD 5 of 255", "sharpness", functools.partial(_noisy, sd=5.0)),
    Transformation("noise, SD 15 of 255", "sharpness", functools.partial(_noisy, sd=15.0)),
    Transformation("blur, 0.3% of the side", "sharpness", functools.partial(_blurred, part=0.003)),
    Transformation("blur, 0.7% of the side", "sharpness", functools.partial(_blurred, part=0.007)),
    Transformation("sharpened", "sharpness", functools.partial(_sharpened, part=0.004)),
    Transformation("reduced to 224 pixels", "sharpness", functools.partial(_coarser, side=224)),
    Transformation("reduced to 150 pixels", "sharpness", functools.partial(_coarser, side=150)),
    Transformation("JPEG, quality 50", "sharpness", functools.partial(_jpeg, quality=50)),
    Transformation("JPEG, quality 15", "sharpness", functools.partial(_jpeg, quality=15)),
    Transformation("cropped by 3% on each side", "frame", functools.partial(_cropped, part=0.03)),
    Transformation("cropped by 8% on each side", "frame", functools.partial(_cropped, part=0.08)),
    Transformation("forearm cut off, 10%", "frame", functools.partial(_without_bottom, part=0.1)),
    Transformation("black border", "frame", functools.partial(_bordered, part=0.2, level=0)),
    Transformation("white border", "frame", functools.partial(_bordered, part=0.1, level=255)),
    Transformation("marker pasted", "frame", _marked),
    Transformation("line of text", "frame", _captioned),
)
"""All changes, by kind."""
