"""Images that are no usable radiographs of one hand, made one by one: the inputs of `benchmarks.wrong_inputs`.

Each depends on its kind and its number alone. What other packages bring is read from where they lie, without their
code where that is possible: `absent` names those that are not installed. Numbers without a source are chosen by eye.
"""

from __future__ import annotations

import dataclasses
import functools
import gzip
import importlib
import importlib.util
import itertools
import pathlib
import plistlib
import tarfile
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence

import cv2
import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import scipy.ndimage
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from boneage_jax.canvas import CAPITATE, FINGERTIP
from boneage_jax.data import grey, input_layout
from boneage_jax.data.images import Grey
from boneage_jax.errors import UserError
from boneage_jax.phantoms import exposure, render
from boneage_jax.phantoms.camera import Camera
from boneage_jax.phantoms.maturity import Variation
from boneage_jax.workflows import radiographs
from boneage_jax.workflows.radiographs import Radiograph

Picture = UInt8[np.ndarray, "_h _w"] | UInt8[np.ndarray, "_h _w 3"]
"""Grey levels, or red, green and blue."""

Draws = np.random.Generator

Point = Sequence[float] | np.ndarray
"""x and y."""

PER_KIND = 20
"""Images of a kind."""

HEIGHT, WIDTH = 520, 400
"""Of what is drawn here, in pixels."""

CRANIUM = pathlib.Path("/usr/share/doc/invesalius-examples/examples/Cranium.inv3")
"""CT of a head, in Debian's package invesalius-examples."""

STAMPS = pathlib.Path("/usr/share/tuxpaint/stamps")
"""Cut-out photographs, in Debian's package tuxpaint-stamps-default."""


@dataclasses.dataclass(frozen=True)
class WrongInput:
    """An image that deserves no age.

    Attributes:
      kind: of image, as in `skull radiographs`.
      name: what was drawn or read.
      image: grey levels, or RGB.
    """

    kind: str
    name: str
    image: Picture


@dataclasses.dataclass(frozen=True)
class Kind:
    """Images of one kind.

    Attributes:
      name: of the kind.
      make: returns name and image of the given number, from the given random numbers.
      count: how many there are.
    """

    name: str
    make: Callable[[int, Draws], tuple[str, Picture]]
    count: int = PER_KIND

    def images(self, most: int | None = None) -> Iterator[WrongInput]:
        """Yields the images, or the first `most` of them: the same ones however many are asked for."""
        for n in range(self.count if most is None else min(most, self.count)):
            name, image = self.make(n, np.random.default_rng([zlib.crc32(self.name.encode()), n]))
            yield WrongInput(self.name, name, image)


def kinds(hands: Sequence[Radiograph] = ()) -> list[Kind]:
    """Returns the kinds whose sources are here.

    Args:
      hands: radiographs of hands from which the cropped kinds are made too, as kinds of their own.
    """
    found = [Kind("MR slices", functools.partial(_slice, _mr()))]
    if ct := _ct():
        found.append(Kind("CT slices", functools.partial(_slice, ct)))
    if CRANIUM.is_file():
        found.append(Kind("skull radiographs", _skull_radiograph, 2 * PER_KIND))
    found += [
        Kind("photographs", _photograph),
        Kind("pages of text", _page),
        Kind("blank and nearly blank", _blank),
        Kind("noise", _noise),
        Kind("gradients, checks, gratings", _pattern),
        Kind("chest-like shapes", _chest),
        Kind("foot-like shapes", _foot),
        Kind("long-bone-like shapes", _long_bones),
        Kind("drawings of hands", _drawing),
    ]
    for name, cut in CUTS.items():
        found.append(Kind(f"{name}, phantoms", functools.partial(_cut, cut, _phantom)))
        if hands:
            found.append(Kind(f"{name}, real", functools.partial(_cut, cut, functools.partial(_real, hands))))
    return found


def absent() -> list[str]:
    """Returns a line for each source that is not installed."""
    lines = [
        f"{package} is not installed: {what} of it are left out (pip install --no-deps {wheel})"
        for package, wheel, what in (
            ("pydicom", "pydicom", "CT and MR slices"),
            ("nibabel", "nibabel", "MR slices"),
            ("nilearn", "nilearn", "MR slices"),
            ("skimage", "scikit-image", "photographs"),
            ("sklearn", "scikit-learn", "photographs"),
        )
        if _folder(package) is None
    ]
    lines += [
        f"{package} is not installed: {what} are left out (apt-get install {package})"
        for package, place, what in (
            ("invesalius-examples", CRANIUM, "skull radiographs and most CT slices"),
            ("tuxpaint-stamps-default", STAMPS, "half of the photographs"),
        )
        if not place.exists()
    ]
    return lines


def _folder(package: str) -> pathlib.Path | None:
    """Where a package lies; None where it is not installed."""
    spec = importlib.util.find_spec(package)
    return pathlib.Path(spec.origin).parent if spec is not None and spec.origin is not None else None


# Slices and projections of volumes.


@functools.cache
def _cranium() -> Float[np.ndarray, "z y x"]:
    """Attenuation of a head in multiples of water's, without the table, in cubes of 0.96 mm; vertex and nose first."""
    with tarfile.open(CRANIUM) as archive:
        files = {pathlib.PurePath(one.name).name: archive.extractfile(one) for one in archive if one.isfile()}
        about, voxels = (file.read() for name in ("main.plist", "matrix.dat") if (file := files[name]) is not None)
    facts = plistlib.loads(about)
    hounsfield = np.frombuffer(voxels, facts["matrix"]["dtype"]).reshape(facts["matrix"]["shape"])
    width, _, height = facts["spacing"]
    pieces, _ = scipy.ndimage.label(hounsfield > -300)
    head = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
    # A margin keeps skin and the air in the head, and leaves the table out.
    head = scipy.ndimage.binary_dilation(head, iterations=2)
    water = np.where(head, np.maximum(hounsfield.astype(np.float32) / 1000 + 1, 0), 0)[::-1]
    return scipy.ndimage.zoom(water, (height / width, 1, 1), order=1)


def _views(name: str, volume: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Stacks of slices across each axis of a volume of cubes."""
    return [(f"{name}, axis {axis}", np.moveaxis(volume, axis, 0)) for axis in range(3)]


def _dicom(path: pathlib.Path) -> list[tuple[str, np.ndarray]]:
    """The slice of a DICOM file as a stack; nothing where no decoder for it is installed."""
    pydicom = importlib.import_module("pydicom")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # test files are odd on purpose
        try:
            return [(path.name, pydicom.dcmread(path).pixel_array[None])]
        except RuntimeError:
            return []


@functools.cache
def _ct() -> list[tuple[str, np.ndarray]]:
    found = _views("cranium", _cranium()) if CRANIUM.is_file() else []
    if (pydicom := _folder("pydicom")) is not None:
        for name in ("693_J2KI.dcm", "CT_small.dcm", "J2K_pixelrep_mismatch.dcm"):
            found += _dicom(pydicom / "data" / "test_files" / name)
    return found


@functools.cache
def _mr() -> list[tuple[str, np.ndarray]]:
    with gzip.open(pathlib.Path(matplotlib.get_data_path()) / "sample_data" / "s1045.ima.gz") as file:
        found = [("s1045.ima", np.frombuffer(file.read(), np.uint16).reshape(1, 256, 256))]
    pydicom, nibabel, nilearn = map(_folder, ("pydicom", "nibabel", "nilearn"))
    if pydicom is not None:
        for name in ("MR_small.dcm", "examples_overlay.dcm"):
            found += _dicom(pydicom / "data" / "test_files" / name)
    if nibabel is not None:
        load = importlib.import_module("nibabel").load
        example = np.asarray(load(nibabel / "tests" / "data" / "example4d.nii.gz").dataobj)
        found.append(("example4d.nii", example[..., 0].transpose(2, 1, 0)))
        if nilearn is not None:
            brain = load(nilearn / "datasets" / "data" / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz")
            found += _views("MNI 152", np.asarray(brain.dataobj))
    return found


def _slice(stacks: Sequence[tuple[str, np.ndarray]], n: int, draws: Draws) -> tuple[str, Grey]:
    name, stack = stacks[n % len(stacks)]
    at = round((len(stack) - 1) * draws.uniform(0.2, 0.8))
    low, high = np.percentile(stack[at], (draws.uniform(0.5, 30), draws.uniform(96, 99.9)))
    return f"{name}, slice {at}", _framed(grey.between(stack[at], low, high), draws)


def _framed(image: Grey, draws: Draws) -> Grey:
    """A part of an image, perhaps mirrored or turned by quarters, on 300 to 640 pixels, with noise."""
    image = np.rot90(_part(image, 0.7, draws), draws.choice([0, 0, 0, 1, 2, 3]))
    return _noisy(_fitted(image[:, ::-1] if draws.random() < 0.5 else image, draws.uniform(300, 640)), draws)


def _part(image: np.ndarray, least: float, draws: Draws) -> np.ndarray:
    """A part of an image, of `least` of its height and width or more."""
    height, width = (round(side * draws.uniform(least, 1)) for side in image.shape[:2])
    y, x = (int(draws.integers(0, whole - part + 1)) for whole, part in zip(image.shape, (height, width), strict=False))
    return image[y : y + height, x : x + width]


def _fitted(image: np.ndarray, side: float) -> np.ndarray:
    """An image whose longer side has that many pixels."""
    scale = side / max(image.shape[:2])
    size = [max(8, round(pixels * scale)) for pixels in image.shape[1::-1]]
    return cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def _noisy(image: Grey, draws: Draws) -> Grey:
    noise = draws.normal(0, draws.uniform(0, 5), image.shape)
    return np.clip(np.round(image + noise), 0, 255).astype(np.uint8)


VIEWS = {"from the front": (1, 0), "from the side": (2, 0), "from above": (0, 0), "oblique": (1, 45)}
"""Axes of the head along which the radiation goes, and degrees by which the head is turned about its long axis."""


def _skull_radiograph(n: int, draws: Draws) -> tuple[str, Grey]:
    """Sums attenuation along rays, as a radiograph does; a third of the images show a part of the head."""
    name = list(VIEWS)[n % len(VIEWS)]
    axis, turn = VIEWS[name]
    volume = _cranium()
    # Compact bone absorbs the softer rays of a radiograph more than its Hounsfield numbers say.
    volume = volume + np.maximum(volume - 1.15, 0) * draws.uniform(0.5, 1.5)
    volume = _spun(volume, turn + draws.uniform(-20, 20))
    volume = _spun(volume.transpose(2, 0, 1), draws.uniform(-15, 15)).transpose(1, 2, 0)
    path = volume.sum(axis)
    path = path - draws.uniform(0, 0.7) * cv2.GaussianBlur(path, (0, 0), 20)
    path = _turned(path, draws.uniform(-25, 25))
    shown = _part(path, 0.4, draws) if n % 3 == 2 else path
    low, high = np.percentile(shown, (draws.uniform(1, 20), draws.uniform(99, 99.9)))
    image = np.round(255 * np.clip((shown - low) / (high - low), 0, 1) ** draws.uniform(0.7, 1.6)).astype(np.uint8)
    image = _noisy(_fitted(image, draws.uniform(350, 640)), draws)
    return f"{name}{', a part' if n % 3 == 2 else ''}", 255 - image if draws.random() < 0.1 else image


def _spun(volume: np.ndarray, degrees: float) -> np.ndarray:
    """Turns each plane of a volume about its centre."""
    return np.stack([_turned(plane, degrees) for plane in volume])


def _turned(image: np.ndarray, degrees: float) -> np.ndarray:
    """Turns an image about its centre; what comes in is 0."""
    height, width = image.shape[:2]
    about = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    return cv2.warpAffine(np.ascontiguousarray(image), about, (width, height))


# Photographs and pages.

_SCIKIT_IMAGE = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "clock_motion.png", "coffee.png", "coins.png",
    "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png", "retina.jpg",
    "rocket.jpg",
)  # fmt: skip
_STAMP_FOLDERS = ("animals", "food/fruit", "food/vegetables", "plants")


@functools.cache
def _photographs() -> tuple[list[pathlib.Path], list[pathlib.Path]]:
    """Files of photographs, and of cut-out ones."""
    whole = [pathlib.Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"]
    if (scikit_learn := _folder("sklearn")) is not None:
        whole += [scikit_learn / "datasets" / "images" / name for name in ("china.jpg", "flower.jpg")]
    if (scikit_image := _folder("skimage")) is not None:
        whole += [scikit_image / "data" / name for name in _SCIKIT_IMAGE]
    cut_out = sorted(path for folder in _STAMP_FOLDERS for path in (STAMPS / folder).rglob("*.png"))
    return whole, cut_out


def _photograph(n: int, draws: Draws) -> tuple[str, Picture]:
    whole, cut_out = _photographs()
    if n % 2 and cut_out:
        path, margin = cut_out[draws.integers(len(cut_out))], int(draws.integers(5, 60))
        with Image.open(path) as opened:
            image = np.pad(np.asarray(opened.convert("RGBA")), ((margin, margin), (margin, margin), (0, 0)))
        alpha = image[..., 3:] / 255
        image = _levels(alpha * image[..., :3] + (1 - alpha) * draws.choice([0, 255, draws.uniform(0, 255)]))
        return path.name, _fitted(image, draws.uniform(300, 500))
    at = n // 2 if cut_out else n
    path = whole[at % len(whole)]
    with Image.open(path) as opened:
        image = np.asarray(opened.convert("RGB"))
    # Each a second time, as a part, once all have been shown.
    return path.name, _fitted(_part(image, 0.9 if at < len(whole) else 0.4, draws), draws.uniform(300, 640))


def _page(n: int, draws: Draws) -> tuple[str, Grey]:
    """Lines of a licence in several fonts and sizes, in one or two columns; every fourth page is white on black."""
    fonts = pathlib.Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    words = (fonts / "LICENSE_DEJAVU").read_text(encoding="utf-8").split()
    face = str(draws.choice(["DejaVuSans.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf", "DejaVuSans-Bold.ttf"]))
    size, columns = int(draws.integers(9, 30)), 1 + int(draws.integers(2))
    page = Image.new("L", (WIDTH, HEIGHT), int(draws.integers(225, 256)))
    pen, font = ImageDraw.Draw(page), ImageFont.truetype(str(fonts / face), size)
    margin, at = int(draws.integers(15, 50)), int(draws.integers(len(words) // 2))
    column = (WIDTH - margin) // columns - margin // 2
    for left in range(margin, WIDTH - margin, column + margin // 2):
        for y in range(margin, HEIGHT - margin - size, round(1.35 * size)):
            line = words[at]
            at = (at + 1) % len(words)
            while pen.textlength(f"{line} {words[at]}", font) < column:
                line, at = f"{line} {words[at]}", (at + 1) % len(words)
            if draws.random() < 0.9:
                pen.text((left, y), line, int(draws.integers(0, 60)), font)
    image = 255 - _turned(255 - np.asarray(page), draws.uniform(-4, 4))
    return f"{face}, {size} pixels", _noisy(255 - image if n % 4 == 3 else image, draws)


# Images without anything in them, and patterns.


def _coordinates() -> tuple[np.ndarray, np.ndarray]:
    """Row and column of each pixel, from -1 to 1."""
    y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    return y, x


def _levels(image: np.ndarray) -> Grey:
    return np.clip(np.round(image), 0, 255).astype(np.uint8)


def _blank(n: int, draws: Draws) -> tuple[str, Grey]:
    y, x = _coordinates()
    even = np.full((HEIGHT, WIDTH), draws.uniform(0, 255))
    match n % 5:
        case 0:
            return "one grey level", _levels(np.full_like(even, (0, 255, 128, draws.uniform(0, 255))[n // 5 % 4]))
        case 1:
            return "one grey level and noise", _levels(even + draws.normal(0, draws.uniform(0.5, 4), even.shape))
        case 2:
            centre = draws.uniform(-0.5, 0.5, 2)
            return "vignette", _levels(even - draws.uniform(10, 90) * ((y - centre[0]) ** 2 + (x - centre[1]) ** 2))
        case 3:
            top, left, bottom, right = draws.uniform(0.4, 0.95, 4) * (-1, -1, 1, 1)
            field = (y > top) & (y < bottom) & (x > left) & (x < right)
            return "collimated field", _noisy(_levels(np.where(field, draws.uniform(60, 230), 12)), draws)
    image = _noisy(_levels(even * 0.3), draws)
    place = (int(draws.integers(10, WIDTH - 60)), int(draws.integers(40, HEIGHT - 10)))
    return "side marker alone", cv2.putText(image, str(draws.choice(["L", "R"])), place, 0, 1.4, 250, 3, cv2.LINE_AA)


def _noise(n: int, draws: Draws) -> tuple[str, Grey]:
    """Noise whose power falls with frequency to the power of 0 to 4.5; and salt and pepper."""
    if n % 5 == 4:
        part = draws.uniform(0.02, 0.5)
        drawn = draws.random((HEIGHT, WIDTH))
        image = np.where(drawn < part / 2, 0, np.where(drawn > 1 - part / 2, 255, draws.uniform(40, 215)))
        return f"salt and pepper, {part:.0%}", _levels(image)
    power = 1.5 * (n % 5) * draws.uniform(0.8, 1)
    return f"power {-power:.1f}", _levels(128 + draws.uniform(15, 70) * _spectrum(power, draws))


def _spectrum(power: float, draws: Draws) -> np.ndarray:
    """Noise of standard deviation 1 whose power falls with frequency."""
    y, x = np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)
    frequency = np.maximum(np.hypot(y, x), 1 / HEIGHT)
    image = np.fft.irfft2(np.fft.rfft2(draws.normal(size=(HEIGHT, WIDTH))) * frequency ** (-power / 2), (HEIGHT, WIDTH))
    return (image - image.mean()) / image.std()


def _pattern(n: int, draws: Draws) -> tuple[str, Grey]:
    y, x = _coordinates()
    angle = draws.uniform(0, 2 * np.pi)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    rate, middle, reach = draws.uniform(3, 40), draws.uniform(90, 160), draws.uniform(40, 95)
    match n % 5:
        case 0:
            name, image = "gradient", along / 1.42
        case 1:
            name, image = "round gradient", 1 - 1.4 * np.hypot(along - 0.2, across)
        case 2:
            name, image = "checks", np.sign(np.sin(rate * along) * np.sin(rate * across))
        case 3:
            name, image = "grating", np.sin(rate * along)
        case _:
            name, image = "rings", np.sin(rate * np.hypot(along, across))
    return name, _noisy(_levels(middle + reach * image), draws)


# Other parts of the body, from round bones in soft tissue, exposed as phantoms are.

_CANVAS_PIXELS = 3.5
"""Thickness, in the unit of `exposure.Scene`, of what is one pixel thick here."""

EXPOSURE = dataclasses.replace(exposure.DISTURBED, contrast=(0.15, 0.38), faded=0.0)
"""Usable images: with everything that may be in one, but not faint."""


@dataclasses.dataclass(frozen=True)
class _Body:
    """Path lengths in pixels, and where its own coordinates lie in the image.

    Attributes:
      bone: of bone.
      soft: of soft tissue.
      centre: x, y of its origin, in pixels.
      unit: its unit in pixels.
      degrees: by which it is turned.
      mirrored: whether its x go to the left.
    """

    bone: Float[np.ndarray, "h w"]
    soft: Float[np.ndarray, "h w"]
    centre: tuple[float, float]
    unit: float
    degrees: float
    mirrored: bool

    def point(self, x: float, y: float) -> np.ndarray:
        """Returns x, y in pixels of a point in its own coordinates."""
        c, s = np.cos(np.deg2rad(self.degrees)), np.sin(np.deg2rad(self.degrees))
        x = -x if self.mirrored else x
        return np.array([c * x - s * y, s * x + c * y]) * self.unit + self.centre

    def add_bone(self, start: Point, end: Point, radii: Sequence[float], waist: float = 0.0) -> None:
        """Adds a round bone, hollow in its shaft where it has a waist.

        Args:
          start: x, y of one end's middle.
          end: of the other's.
          radii: at both ends.
          waist: part of the radius by which its middle is narrower.
        """
        outer, bow, squared = self._tube(start, end, radii, waist)
        self.bone[:] += _chord(outer, squared)
        if waist:
            self.bone[:] -= 0.8 * _chord(0.65 * outer * np.sqrt(bow), squared)

    def add_soft(self, start: Point, end: Point, radii: Sequence[float], flat: float = 1.0) -> None:
        """Lets soft tissue reach a round form too, `flat` times as thick as it is wide."""
        outer, _, squared = self._tube(start, end, radii, 0.0)
        np.maximum(self.soft, flat * _chord(outer, squared), out=self.soft)

    def add_bent_bone(self, points: Sequence[Point], radius: float) -> None:
        """Adds a round bone along a line of points; half of it is marrow."""
        apart = np.full((HEIGHT, WIDTH), 255, np.uint8)
        line = np.round([self.point(*point) for point in points]).astype(np.int32)
        distance = cv2.distanceTransform(cv2.polylines(apart, [line], False, 0), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        self.bone[:] += 0.5 * _chord(np.float64(self.unit * radius), distance.astype(np.float64) ** 2)

    def _tube(
        self, start: Point, end: Point, radii: Sequence[float], waist: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For each pixel: radius of the form at the nearest point of its axis, its bow there, squared distance."""
        first, last = self.point(*start), self.point(*end)
        y, x = np.mgrid[:HEIGHT, :WIDTH]
        way = last - first
        along = ((x - first[0]) * way[0] + (y - first[1]) * way[1]) / max(float(way @ way), 1e-6)
        along = np.clip(along, 0, 1)
        bow = np.sin(np.pi * along)
        outer = self.unit * (radii[0] + (radii[1] - radii[0]) * along) * (1 - waist * bow)
        return outer, bow, (x - first[0] - along * way[0]) ** 2 + (y - first[1] - along * way[1]) ** 2

    def exposed(self, draws: Draws) -> Grey:
        """Returns its radiograph."""
        soft = cv2.GaussianBlur(self.soft, (0, 0), 2.0)
        texture = 1 + 0.08 * _spectrum(1.0, draws)
        inside = soft > 0.5
        scene = exposure.Scene(
            jnp.asarray(_CANVAS_PIXELS * cv2.GaussianBlur(self.bone, (0, 0), 0.7) * texture, jnp.float32),
            jnp.asarray(_CANVAS_PIXELS * soft, jnp.float32),
            jnp.asarray(inside),
            jnp.asarray(input_layout.box(inside), jnp.float32),
            jnp.asarray(self.mirrored),
        )
        image, _ = exposure.expose(jax.random.key(int(draws.integers(2**31))), scene, EXPOSURE)
        return _levels(255 * np.asarray(image))


def _chord(radius: np.ndarray | np.float64, squared: np.ndarray) -> np.ndarray:
    """Path length through a round form at a squared distance from its axis."""
    return 2 * np.sqrt(np.maximum(radius**2 - squared, 0))


def _body(unit: float, degrees: float, draws: Draws) -> _Body:
    shift = draws.uniform(-0.04, 0.04, 2)
    return _Body(
        np.zeros((HEIGHT, WIDTH)),
        np.zeros((HEIGHT, WIDTH)),
        (WIDTH * (0.5 + shift[0]), HEIGHT * (0.5 + shift[1])),
        unit,
        degrees,
        bool(draws.random() < 0.5),
    )


def _foot(n: int, draws: Draws) -> tuple[str, Grey]:
    """A foot from above: unit is its length, toes up, great toe at the left; all lengths vary."""
    degrees = draws.uniform(-25, 25) + (180 if n % 5 == 4 else 0)
    foot = _body(HEIGHT * draws.uniform(0.6, 0.85), degrees, draws)
    spread = draws.uniform(0.9, 1.15)
    rows = (
        ((-0.075, 0.0), (-0.115, -0.22), 0.029, (0.095, 0.075)),
        ((-0.03, -0.04), (-0.04, -0.255), 0.017, (0.075, 0.03, 0.025)),
        ((0.01, -0.035), (0.02, -0.24), 0.016, (0.065, 0.028, 0.022)),
        ((0.05, -0.01), (0.075, -0.205), 0.016, (0.06, 0.024, 0.02)),
        ((0.085, 0.03), (0.125, -0.155), 0.017, (0.05, 0.02, 0.02)),
    )
    for base, head, radius, phalanges in rows:
        start, end = np.array(base), np.array(head) * (spread, draws.uniform(0.95, 1.05))
        foot.add_bone(start, end, (1.2 * radius, 1.2 * radius), 0.4)
        # Toes point forwards, more than the metatarsals do.
        along = (end - start) * (0.6, 1)
        along /= np.linalg.norm(along)
        tip = end
        for length in phalanges:
            start = tip + along * 1.9 * radius
            tip = start + along * length * draws.uniform(0.85, 1.15)
            foot.add_bone(start, tip, (0.95 * radius, 0.75 * radius), 0.3)
        foot.add_soft(end, tip + along * 0.012, (2.3 * radius, 1.7 * radius), 1.5)
    for x, y, radius in ((-0.07, 0.065, 0.034), (-0.025, 0.03, 0.03), (0.015, 0.045, 0.03), (0.065, 0.10, 0.042)):
        foot.add_bone((x, y), (x, y + 0.02), (radius, radius))
    foot.add_bone((-0.06, 0.13), (0.0, 0.12), (0.03, 0.03))
    foot.add_bone((-0.035, 0.19), (-0.02, 0.27), (0.05, 0.06))
    foot.add_bone((0.02, 0.25), (0.03, 0.41), (0.05, 0.065))
    foot.add_soft((0.0, -0.12), (0.01, 0.10), (0.16, 0.135), 0.8)
    foot.add_soft((0.01, 0.10), (0.015, 0.40), (0.135, 0.115), 1.0)
    return f"turned by {degrees:.0f} degrees", foot.exposed(draws)


def _long_bones(n: int, draws: Draws) -> tuple[str, Grey]:
    """A thigh or an upper arm, two bones of a forearm or a lower leg, or a joint; unit is the image's height."""
    limb = _body(HEIGHT * draws.uniform(0.9, 1.3), draws.uniform(0, 360), draws)
    thick = draws.uniform(0.8, 1.2)
    match n % 3:
        case 0:
            name = "one bone"
            limb.add_bone((0, -0.33), (0.0, 0.36), (0.055 * thick, 0.075 * thick), 0.4)
            limb.add_bone((0.0, -0.33), (0.08, -0.37), (0.035 * thick, 0.045 * thick))
            limb.add_bone((-0.04, 0.38), (0.04, 0.38), (0.04 * thick, 0.04 * thick))
            limb.add_soft((0, -0.7), (0, 0.7), (0.2 * thick, 0.13 * thick), 0.8)
        case 1:
            name = "two bones"
            gap = draws.uniform(0.05, 0.08)
            limb.add_bone((-gap, -0.38), (-gap, 0.34), (0.04 * thick, 0.06 * thick), 0.35)
            limb.add_bone((gap, -0.34), (gap * 0.9, 0.36), (0.045 * thick, 0.03 * thick), 0.3)
            limb.add_soft((0, -0.7), (0, 0.7), (0.17 * thick, 0.12 * thick), 0.8)
        case _:
            name = "joint"
            limb.add_bone((0, -0.8), (0, -0.06), (0.05 * thick, 0.085 * thick), 0.35)
            limb.add_bone((-0.05, -0.05), (0.05, -0.05), (0.045 * thick, 0.045 * thick))
            limb.add_bone((-0.01, 0.06), (0.0, 0.8), (0.085 * thick, 0.05 * thick), 0.35)
            limb.add_bone((0.10, 0.10), (0.09, 0.8), (0.028 * thick, 0.028 * thick), 0.3)
            limb.add_bone((0.01, -0.08), (0.01, -0.05), (0.035 * thick, 0.035 * thick))
            limb.add_soft((0, -0.8), (0, 0), (0.2 * thick, 0.16 * thick), 0.8)
            limb.add_soft((0, 0), (0, 0.8), (0.16 * thick, 0.15 * thick), 0.8)
    return name, limb.exposed(draws)


def _chest(n: int, draws: Draws) -> tuple[str, Grey]:
    """Spine, ribs, collar bones and upper arms about two lungs and a heart; unit is the image's width."""
    chest = _body(WIDTH * draws.uniform(0.85, 1.15), draws.uniform(-6, 6), draws)
    wide = draws.uniform(0.9, 1.1)
    chest.add_soft((0, -0.1), (0, 0.7), (0.40 * wide, 0.42 * wide), 0.5)
    chest.add_soft((-0.33, -0.38), (0.33, -0.38), (0.13, 0.13), 0.9)
    chest.add_soft((0, -0.7), (0, -0.4), (0.12, 0.13), 1.0)
    lungs = _body_like(chest)
    for side in (-1, 1):
        lungs.add_soft((side * 0.15 * wide, -0.22), (side * 0.19 * wide, 0.16), (0.09, 0.13), 1.0)
        chest.add_bone((side * 0.03, -0.34), (side * 0.32, -0.40), (0.016, 0.02))
        chest.add_bone((side * 0.38, -0.38), (side * 0.46, 0.2), (0.05, 0.03), 0.2)
        for n_rib in range(9):
            y, reach = -0.36 + 0.075 * n_rib, wide * (0.2 + 0.13 * np.sin(np.pi * (n_rib + 1) / 11))
            angles = np.linspace(-0.5 * np.pi, 0.6 * np.pi, 14)
            arc = [(side * reach * np.cos(a), y + 0.06 + 0.07 * np.sin(a) + 0.05 * np.cos(a)) for a in angles]
            chest.add_bent_bone(arc, 0.014)
    heart = _body_like(chest)
    heart.add_soft((0.0, 0.0), (0.07, 0.12), (0.07, 0.10), 1.0)
    air = cv2.GaussianBlur(np.minimum(lungs.soft / (0.15 * chest.unit), 1.0), (0, 0), 4.0)
    chest.soft[:] = chest.soft * (1 - draws.uniform(0.6, 0.8) * air) + 0.5 * heart.soft
    for n_vertebra in range(14):
        y = -0.5 + 0.075 * n_vertebra
        chest.add_bone((-0.012, y), (0.012, y), (0.03, 0.03))
    return f"turned by {chest.degrees:.0f} degrees", chest.exposed(draws)


def _body_like(body: _Body) -> _Body:
    """Nothing yet, where another body lies."""
    return dataclasses.replace(body, bone=np.zeros_like(body.bone), soft=np.zeros_like(body.soft))


# Drawings of hands.

_FINGERS = ((-0.62, 0.15, 0.30), (-0.34, -0.45, 0.36), (-0.05, -0.55, 0.40), (0.22, -0.48, 0.37), (0.46, -0.28, 0.29))
"""x, y of each finger's root and its length, for a palm about the origin; the thumb at the left, y downwards."""


def _drawing(n: int, draws: Draws) -> tuple[str, Picture]:
    """Hands as children draw them: an outline, a coloured hand, strokes, a palm with five lines, bones."""
    style = ("outline", "coloured", "strokes", "five lines", "bones")[n % 5]
    paper = np.full((HEIGHT, WIDTH, 3), draws.uniform(225, 255), np.float64) * draws.uniform(0.92, 1, 3)
    colour = draws.uniform(0, 140, 3)
    if style == "bones" or (style == "strokes" and n % 2):
        paper, colour = paper * draws.uniform(0, 0.3), draws.uniform(190, 255, 3)
    image = np.ascontiguousarray(_levels(paper))
    ink = [float(level) for level in colour]
    unit = HEIGHT * draws.uniform(0.28, 0.38)
    about = np.array([WIDTH * draws.uniform(0.42, 0.58), HEIGHT * draws.uniform(0.52, 0.62)])
    angle = np.deg2rad(draws.uniform(-20, 20))
    c, s, side = np.cos(angle), np.sin(angle), draws.choice([-1, 1])

    def place(x: float, y: float) -> tuple[int, int]:
        x, y = side * x * unit, y * unit
        return round(c * x - s * y + about[0]), round(s * x + c * y + about[1])

    fingers = []
    for x, y, length in _FINGERS:
        way = np.deg2rad(70 * x + draws.uniform(-8, 8))
        reach = 1.6 * length * draws.uniform(0.8, 1.2)
        fingers.append((place(x, y), place(x + reach * np.sin(way), y - reach * np.cos(way))))
    pen = int(draws.integers(2, 7))
    if style == "five lines":
        cv2.circle(image, place(0, 0), round(0.5 * unit), ink, pen, cv2.LINE_AA)
        for root, tip in fingers:
            cv2.line(image, root, tip, ink, pen, cv2.LINE_AA)
        return style, image
    if style == "bones":
        for root, tip in fingers:
            joints = np.linspace(place(0, 0.5), root, 2).tolist() + np.linspace(root, tip, 4)[1:].tolist()
            for start, end in itertools.pairwise(joints):
                first, last = np.array(start), np.array(end)
                ends = [np.round(first + part * (last - first)).astype(int).tolist() for part in (0.12, 0.88)]
                cv2.line(image, ends[0], ends[1], ink, 2 * pen, cv2.LINE_AA)
                for end_point in ends:
                    cv2.circle(image, end_point, 2 * pen, ink, -1, cv2.LINE_AA)
        return style, image
    shape = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.ellipse(shape, place(0, 0), (round(0.58 * unit), round(0.62 * unit)), 0, 0, 360, 255, -1)
    cv2.line(shape, place(0, 0.3), place(0, 2), 255, round(0.7 * unit))
    for root, tip in fingers:
        cv2.line(shape, root, tip, 255, round(0.24 * unit))
    outlines, _ = cv2.findContours(shape, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    line = max(outlines, key=len)[:, 0, :].astype(np.float64)
    for _ in range(3 if style == "strokes" else 1):
        wobble = scipy.ndimage.gaussian_filter1d(draws.normal(size=line.shape), 12, axis=0, mode="wrap")
        wobbly = [np.round(line + draws.uniform(4, 12) * wobble).astype(np.int32)]
        if style == "coloured":
            cv2.fillPoly(image, wobbly, draws.uniform(90, 250, 3).tolist(), cv2.LINE_AA)
        cv2.polylines(image, wobbly, True, ink, pen, cv2.LINE_AA)
    return style, image


# Hands that cannot be used.


@dataclasses.dataclass(frozen=True)
class _Hand:
    """A radiograph of an upright hand.

    Attributes:
      name: whose.
      image: grey levels.
      tip: row of the middle fingertip.
      capitate: row of the capitate.
      middle: column of the hand's middle.
    """

    name: str
    image: Grey
    tip: float
    capitate: float
    middle: float

    @property
    def length(self) -> float:
        """Pixels from middle fingertip to capitate."""
        return self.capitate - self.tip


_UPRIGHT = Camera(HEIGHT, WIDTH, rotation=8.0, size=(0.50, 0.66), shift=0.04, mirror=0.5)


def _phantom(n: int, draws: Draws) -> _Hand:
    months, male, seed = draws.uniform(24, 204), draws.integers(2), draws.integers(10**6, 2**31)
    drawn = jax.device_get(
        render.render(
            jax.random.key(int(seed)),
            jnp.float32(months),
            jnp.float32(male),
            _UPRIGHT,
            Variation(),
            EXPOSURE,
        )
    )
    points = np.asarray(drawn.key_points)
    return _Hand(
        f"phantom {'FM'[male]} {months:.0f} months, seed {seed}",
        _levels(255 * np.asarray(drawn.image)),
        float(points[FINGERTIP, 1]),
        float(points[CAPITATE, 1]),
        float(np.nonzero(np.asarray(drawn.instances))[1].mean()),
    )


_TIP, _CAPITATE = 0.085, 0.691
"""Rows of middle fingertip and capitate as parts of the height: medians over 4,648 annotated radiographs of RSNA's."""


def _real(hands: Sequence[Radiograph], n: int, draws: Draws) -> _Hand:
    """A radiograph of the n-th part of all; one that is higher than wide: on others the hand often lies."""
    first = int((n % PER_KIND + draws.random()) * len(hands) / PER_KIND)
    for at in (*range(first, len(hands)), *range(first)):
        read = radiographs.read(hands[at])
        if read.image is not None and read.image.shape[0] > read.image.shape[1]:
            height, _ = read.image.shape
            name = pathlib.PurePath(hands[at].name).name
            return _Hand(name, read.image, _TIP * height, _CAPITATE * height, _middle(read.image))
    raise UserError("no radiograph that can be read is higher than wide: expected hands that stand upright")


def _middle(image: Grey) -> float:
    """Column about which the bright tissue lies; near the image's middle where all is bright."""
    height, width = image.shape
    rows, columns = slice(height // 6, height * 3 // 4), slice(width // 10, width * 9 // 10)
    smooth = cv2.GaussianBlur(image, (0, 0), width / 60)[rows, columns].astype(np.float64)
    weights = np.maximum(smooth - np.median(smooth), 1e-3).sum(0)
    return float(np.average(np.arange(width)[columns], weights=weights))


Cut = Callable[[Callable[[Draws], _Hand], Draws], tuple[str, Grey]]
"""Makes an image from hands that a function draws."""


def _cut(cut: Cut, hand_of: Callable[[int, Draws], _Hand], n: int, draws: Draws) -> tuple[str, Grey]:
    return cut(functools.partial(hand_of, n), draws)


def _two_hands(draw: Callable[[Draws], _Hand], draws: Draws) -> tuple[str, Grey]:
    """Two hands side by side, the second mirrored."""
    first, second = draw(draws), draw(draws)
    height, width = first.image.shape
    return f"{first.name} and {second.name}", np.hstack(
        [first.image, cv2.resize(second.image[:, ::-1], (width, height), interpolation=cv2.INTER_LINEAR)]
    )


def _fingers(draw: Callable[[Draws], _Hand], draws: Draws) -> tuple[str, Grey]:
    """The image down to the proximal phalanges."""
    hand = draw(draws)
    return hand.name, hand.image[: round(hand.tip + hand.length * draws.uniform(0.35, 0.5))]


def _half(draw: Callable[[Draws], _Hand], draws: Draws) -> tuple[str, Grey]:
    """The image on one side of a line along the hand."""
    hand = draw(draws)
    at = round(hand.middle + hand.length * draws.uniform(-0.08, 0.08))
    return hand.name, hand.image[:, :at] if draws.random() < 0.5 else hand.image[:, at:]


def _wrist(draw: Callable[[Draws], _Hand], draws: Draws) -> tuple[str, Grey]:
    """The image from the carpals' lower edge down."""
    hand = draw(draws)
    return hand.name, hand.image[round(hand.capitate + hand.length * draws.uniform(0.08, 0.15)) :]


def _thumbnail(draw: Callable[[Draws], _Hand], draws: Draws) -> tuple[str, Grey]:
    """The image on 60 pixels."""
    hand = draw(draws)
    return hand.name, _fitted(hand.image, 60)


def _covered(draw: Callable[[Draws], _Hand], draws: Draws) -> tuple[str, Grey]:
    """A rectangle of one grey level over most of the hand."""
    hand = draw(draws)
    height, width = hand.length * draws.uniform(0.6, 0.85), hand.length * draws.uniform(0.55, 0.8)
    y = hand.tip + hand.length * 0.6 + draws.uniform(-0.15, 0.15) * hand.length
    x = hand.middle + draws.uniform(-0.08, 0.08) * hand.length
    first, last = (round(x - width / 2), round(y - height / 2)), (round(x + width / 2), round(y + height / 2))
    level = float(draws.choice([0.0, 255.0, draws.uniform(20, 235)]))
    return hand.name, cv2.rectangle(hand.image.copy(), first, last, (level,), -1)


def _blurred(draw: Callable[[Draws], _Hand], draws: Draws) -> tuple[str, Grey]:
    """The image blurred by a twentieth to a tenth of the hand's length."""
    hand = draw(draws)
    return hand.name, cv2.GaussianBlur(hand.image, (0, 0), hand.length * draws.uniform(0.05, 0.1))


CUTS: dict[str, Cut] = {
    "two hands": _two_hands,
    "fingers only": _fingers,
    "half a hand": _half,
    "wrist and forearm": _wrist,
    "thumbnails": _thumbnail,
    "covered hands": _covered,
    "blurred hands": _blurred,
}
"""What makes a hand unusable, by the name of the kind."""
