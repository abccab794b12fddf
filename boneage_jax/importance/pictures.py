"""The pictures of a study: hands by stage and over the ages, single images, and the radiographs they come from.

Sizes, numbers of images and the constants of the animation are chosen by eye.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
from jaxtyping import Float

from boneage_jax import anatomy, page
from boneage_jax.data.sources import REGISTERED, Dataset, as_str
from boneage_jax.errors import UserError
from boneage_jax.geometry import Similarity
from boneage_jax.hand import atlas
from boneage_jax.hand.atlas import PlacedImage
from boneage_jax.importance import plates
from boneage_jax.importance.method import PixelMethod
from boneage_jax.importance.study import Findings
from boneage_jax.importance.subjects import Subjects, evenly_spread
from boneage_jax.importance.tables import called, names_shown

_EXAMPLES = 5
_RADIOGRAPHS = 6
"""Numbers of single images, and of original radiographs."""
_HEIGHT = 300
"""Height of a single image, in pixels."""

_SEX = "F"
"""Sex of the hands that are drawn; boys' look like those of younger girls."""

_SMOOTHING = 12.0
"""Standard deviation, in months, of the weights of images of neighbouring ages in the animation."""

_STEP = 6
_FIRST, _LAST = 6, 228
"""Months between the frames of the animation, and of its first and last frame."""

_TOP = 90
"""Percentile of the frames' greatest shares that gets the brightest colour: a single frame does not dim the others."""


@dataclasses.dataclass(frozen=True)
class ByStage:
    """Hands by stage of development.

    Attributes:
      cards: one for each stage, with a hand for each of `tables.names_shown`.
      tops: share of a bone in all importance that is the brightest colour, by the same names.
    """

    cards: list[page.Card]
    tops: dict[str, float]


def by_stage(findings: Findings) -> ByStage:
    """Returns a hand of each stage that has two images or more, its bones as bright as they are important."""
    stage = findings.subjects.stage
    counts = np.bincount(stage, minlength=len(anatomy.STAGES))
    numbers = np.flatnonzero(counts > 1).tolist()
    shares = {
        name: {n: _share_of_areas(sizes, (stage == n).astype(float)) for n in numbers}
        for name, sizes in _sizes_of_areas(findings).items()
    }
    tops = {name: max((float(one.max()) for one in found.values()), default=0.0) for name, found in shares.items()}
    cards = []
    for n in numbers:
        one = anatomy.STAGES[n]
        age = (one.starts[1] + one.ends[1]) / 2
        drawn = [
            page.picture(
                plates.hand(age, _SEX, found[n], top=tops[name]),
                name,
                alt=f"Hand, importance of bones by {called(name)}",
            )
            for name, found in shares.items()
        ]
        cards.append(
            page.Card(one.name.capitalize(), drawn, [f"{counts[n]} images; drawn: a girl of {age:.0f} months"])
        )
    return ByStage(cards, tops)


def scale() -> page.Picture:
    """Returns the colours of the hands, from no importance to the most."""
    pixels = plates.scale()
    return page.picture(pixels, alt="Colours from dark purple over orange to pale yellow")


def animation(findings: Findings) -> page.Picture:
    """Returns hands over the ages, coloured by the importance of images of about each age."""
    reading, names = findings.subjects.reading, names_shown(findings)
    first = max(_FIRST, _STEP * (int(reading.min()) // _STEP))
    ages = np.arange(first, min(_LAST, int(reading.max())) + 1, _STEP).tolist()
    sizes = _sizes_of_areas(findings)
    weights = {age: np.exp(-0.5 * ((reading - age) / _SMOOTHING) ** 2) for age in ages}
    shares = {(name, age): _share_of_areas(sizes[name], weights[age]) for name, age in itertools.product(names, ages)}
    top = float(np.percentile([one.max() for one in shares.values()], _TOP))
    # Two hands side by side fit a phone.
    height = plates.SIZE[0] // 2 if len(names) == 1 else plates.SIZE[0] * 2 // 3
    frames = []
    for age in ages:
        hands = [plates.resized(plates.hand(age, _SEX, shares[name, age], top=top), height) for name in names]
        frames.append(plates.frame(hands, f"{age} months"))
    alt = f"Hand from {ages[0]} to {ages[-1]} months, importance of bones by {' and by '.join(map(called, names))}"
    return page.Picture(plates.as_gif(frames), frames[0].shape[1], frames[0].shape[0], alt=alt, kind="gif")


def examples(findings: Findings) -> list[page.Card]:
    """Returns some images over the ages, each with its areas and pixels coloured by the methods that have them."""
    subjects = findings.subjects
    order = np.argsort(subjects.reading)
    # The youngest and the oldest are the least usual.
    rows = order[evenly_spread(len(order), _EXAMPLES + 2)][1:-1]
    by_pixel = {m.name: findings.explainer.pixels(m, rows) for m in findings.methods if isinstance(m, PixelMethod)}
    by_area = {m.name: findings.areas[m.name] for m in findings.methods if m.name in findings.areas}
    cards = []
    for place, n in enumerate(rows):
        for channel in range(subjects.image.shape[-1]):
            image, areas = subjects.image[n, ..., channel], subjects.areas[n, ..., channel]
            drawn = [(image, "image")]
            drawn += [
                (plates.areas_over(image, areas, np.abs(values[n])), name)
                for name, values in by_area.items()
                if name not in by_pixel
            ]
            drawn += [(plates.heat(image, values[place, ..., channel]), name) for name, values in by_pixel.items()]
            shown = [page.picture(plates.resized(pixels, _HEIGHT), name) for pixels, name in drawn]
            title = _title(subjects, int(n)) + _channel(findings, channel)
            cards.append(page.Card(title, shown, [_ages(subjects, int(n))]))
    return cards


def _title(subjects: Subjects, n: int) -> str:
    return f"{'Boy' if subjects.male[n] else 'Girl'}, {subjects.reading[n]:.0f} months"


def _channel(findings: Findings, channel: int) -> str:
    """Returns what tells a channel from the others of a child, for a title; nothing where there is one alone."""
    regions, count = findings.selection.view.regions, findings.subjects.image.shape[-1]
    if len(regions) == count:
        return f", region {regions[channel]}"
    return f", image {channel + 1} of {count}" if count > 1 else ""


def _ages(subjects: Subjects, n: int) -> str:
    return f"predicted: {subjects.predicted[n]:.0f} months"


def radiographs(findings: Findings) -> list[page.Card]:
    """Returns importance on the original radiographs; none where the images were not registered, or they are gone."""
    selection, subjects = findings.selection, findings.subjects
    if not (selection.dataset.path / REGISTERED).exists():
        return []
    data_dir = selection.dataset.path.parents[2]
    try:
        source = Dataset.open(data_dir, selection.dataset.origin).split(findings.request.split.split("[")[0])
    except UserError:  # the radiographs need not lie beside the hands; only these pictures are lost
        return []
    known, sizes = source.numbers(), _sizes_of_areas(findings)[findings.most_faithful]
    cards = []
    for n in evenly_spread(len(selection.numbers), _RADIOGRAPHS).tolist():
        row = selection.records.row(int(selection.numbers[n]))
        matrix = np.asarray(row["to_canvas"], np.float64)
        if as_str(row["id"]) not in known or not np.isfinite(matrix).all():
            continue
        original = source.image(known[as_str(row["id"])])
        place = PlacedImage((original.shape[0], original.shape[1]), Similarity.of_matrix(matrix))
        over = plates.areas_over(original, atlas.on_image(subjects.area_maps[n], place), sizes[n])
        picture = page.picture(plates.resized(over, _HEIGHT), alt="Radiograph, areas of bones tinted by importance")
        cards.append(page.Card(_title(subjects, n), [picture], [_ages(subjects, n)]))
    return cards


def _sizes_of_areas(findings: Findings) -> dict[str, Float[np.ndarray, "n areas"]]:
    """Returns the absolute importance of areas by `tables.names_shown`; groups are divided among their areas."""
    sizes = {}
    for name in names_shown(findings):
        one = findings.importance[name]
        sizes[name] = (
            np.stack([plates.of_groups(row) for row in np.abs(one.groups)]) if one.areas is None else np.abs(one.areas)
        )
    return sizes


def _share_of_areas(sizes: Float[np.ndarray, "n areas"], weights: Float[np.ndarray, " n"]) -> np.ndarray:
    """Returns the share of each bone in the importance of all bones, over weighted images."""
    mean = (sizes * weights[:, None]).sum(0)
    mean[atlas.ELSEWHERE] = 0
    return np.asarray(mean / max(float(mean.sum()), 1e-12))
