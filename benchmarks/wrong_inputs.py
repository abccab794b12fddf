"""How often images that are no usable radiographs of one hand get no age, or an age with a flag.

    apt-get install --no-install-recommends invesalius-examples tuxpaint-stamps-default
    pip install --no-deps --target downloads/wrong nibabel nilearn scikit-image scikit-learn
    PYTHONPATH=downloads/wrong python -m benchmarks.wrong_inputs --real FOLDER --out wrong_inputs

An image is refused where it gets no age. Where it gets an age and no flag, nobody is told: those are the silent ones.
For comparison, radiographs of hands in a folder (--real) are read too, and the cropped kinds are made from them as
well as from phantoms. Sexes alternate. Prints the rows of a Markdown table, and writes `wrong_inputs.csv` (a row an
image, with the measures of its quality report) and two sheets of pictures: `silent.png` shows the silent ones,
`kinds.png` some of each kind.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import itertools
import pathlib
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from benchmarks import wrong_sets
from benchmarks.common import hardware, versions
from boneage_jax import resources
from boneage_jax.data.images import Grey
from boneage_jax.data.tree import Tree
from boneage_jax.files import replacing
from boneage_jax.parallel import progress
from boneage_jax.workflows import radiographs
from boneage_jax.workflows.assess import Assessor
from boneage_jax.workflows.radiographs import Radiograph
from boneage_jax.workflows.requests import AssessRequest

REAL_HANDS = "real hands, whole"

AT_ONCE = 32
"""Images that are made before they are read."""

TILE = 168
"""Pixels of a picture on a sheet."""

CAPTION = 34
"""Pixels below it."""

BEHIND = 70
"""Grey level of what a sheet leaves free."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """What the software said of one image.

    Attributes:
      kind: of image.
      name: of the image.
      sex: that was given, `M` or `F`.
      months: bone age; NaN for none.
      flags: of the age.
      problem: why the image could not be read; empty where it could.
      measures: of its quality report, by name; empty where there is none.
      tile: its picture on a sheet.
    """

    kind: str
    name: str
    sex: str
    months: float
    flags: tuple[str, ...]
    problem: str
    measures: dict[str, float]
    tile: Grey

    @property
    def refused(self) -> bool:
        """Whether it got no age."""
        return not np.isfinite(self.months)

    @property
    def silent(self) -> bool:
        """Whether it got an age without a flag."""
        return not self.refused and not self.flags


@dataclasses.dataclass(frozen=True)
class Input:
    """An image to read.

    Attributes:
      kind: of image.
      name: of the image.
      radiograph: how the software gets it.
    """

    kind: str
    name: str
    radiograph: Radiograph


def inputs(hands: Sequence[Radiograph], most: int | None, most_hands: int | None) -> Iterator[Input]:
    """Yields the wrong inputs kind by kind, then the hands.

    Args:
      hands: radiographs of hands; may be empty.
      most: images of a kind; None for all.
      most_hands: hands that are read whole, evenly spaced among all of them; None for all.
    """
    for kind in wrong_sets.kinds(hands):
        for one in kind.images(most):
            yield Input(one.kind, one.name, radiographs.of_array(one.image, one.name))
    count = len(hands) if most_hands is None else min(most_hands, len(hands))
    for n in range(count):
        hand = hands[n * len(hands) // count]
        yield Input(REAL_HANDS, pathlib.PurePath(hand.name).name, hand)


def read(assessor: Assessor, items: Iterator[Input]) -> Iterator[Reading]:
    """Yields what the software says of each image; every other one is given as a boy's."""
    male = itertools.cycle((True, False))
    while part := list(itertools.islice(items, AT_ONCE)):
        males = [next(male) for _ in part]
        found = assessor.assess([one.radiograph for one in part], males, progress=False)
        for one, (assessment, seen) in zip(part, found, strict=True):
            hand = None if seen is None else seen.hand
            yield Reading(
                one.kind,
                one.name,
                assessment.sex,
                assessment.months,
                assessment.flags,
                assessment.problem,
                {} if hand is None else dict(hand.quality.measures),
                tile(np.zeros((TILE, TILE), np.uint8) if seen is None else seen.image),
            )


def tile(image: Grey) -> Grey:
    """Returns an image that is fitted into a square, without its caption."""
    scale = TILE / max(image.shape[:2])
    size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
    found = np.full((TILE, TILE), BEHIND, np.uint8)
    found[: small.shape[0], : small.shape[1]] = small
    return found


def sheet(readings: Sequence[Reading], columns: int) -> Grey:
    """Returns pictures in rows, each with its kind, age and flags below it."""
    cells = [_captioned(one) for one in readings]
    cells += [np.full_like(cells[0], BEHIND)] * (-len(cells) % columns)
    return np.vstack([np.hstack(cells[n : n + columns]) for n in range(0, len(cells), columns)])


def _captioned(reading: Reading) -> Grey:
    age = "no age" if reading.refused else f"{reading.months:.0f} mo"
    found = cv2.copyMakeBorder(reading.tile, 2, CAPTION, 2, 2, cv2.BORDER_CONSTANT, value=(0,))
    for row, line in enumerate((reading.kind, ", ".join((age, *reading.flags)))):
        cv2.putText(found, line, (3, TILE + 14 + 15 * row), 0, 0.33, (255,), 1, cv2.LINE_AA)
    return found


def row_of(name: str, readings: Sequence[Reading]) -> str:
    """Returns a row of the table: images; percent without an age, with a flag, silent; range of the ages given."""
    shares = [
        100 * float(np.mean(said))
        for said in zip(*((one.refused, bool(one.flags), one.silent) for one in readings), strict=True)
    ]
    ages = [one.months for one in readings if not one.refused]
    low, middle, high = np.percentile(ages, (0, 50, 100)) if ages else (np.nan,) * 3
    given = f"{low:.0f} to {high:.0f}, median {middle:.0f}" if ages else "none"
    return f"| {name} | {len(readings):,} | {' | '.join(f'{share:.1f}' for share in shares)} | {given} |"


def table(readings: Sequence[Reading]) -> list[str]:
    """Returns the table's rows: each kind, all wrong inputs, and the hands where there are any."""
    by_kind = {kind: [one for one in readings if one.kind == kind] for kind in dict.fromkeys(r.kind for r in readings)}
    hands = by_kind.pop(REAL_HANDS, [])
    lines = ["| kind | images | no age, % | any flag, % | silent, % | ages given, months |", "|" + " --- |" * 6]
    lines += [row_of(kind, found) for kind, found in by_kind.items()]
    lines.append(row_of("all wrong inputs", [one for found in by_kind.values() for one in found]))
    return lines + ([row_of(REAL_HANDS, hands)] if hands else [])


def write_csv(readings: Sequence[Reading], path: pathlib.Path) -> None:
    """Writes a row an image; measures that an image lacks are empty. Raises `UserError` where that is impossible."""
    measures = list(dict.fromkeys(name for one in readings for name in one.measures))
    with replacing(path) as scratch, scratch.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["kind", "name", "sex", "months", "flags", "problem", *measures])
        for one in readings:
            months = "" if one.refused else f"{one.months:.1f}"
            measured = [f"{one.measures[name]:.5g}" if name in one.measures else "" for name in measures]
            writer.writerow([one.kind, one.name, one.sex, months, ", ".join(one.flags), one.problem, *measured])


def write_sheet(readings: Sequence[Reading], columns: int, path: pathlib.Path) -> None:
    """Writes pictures as a PNG. Raises `UserError` where that is impossible."""
    _, data = cv2.imencode(".png", sheet(readings, columns))
    with replacing(path) as scratch:
        scratch.write_bytes(data.tobytes())


def main() -> None:
    """Reads all images, prints the table and writes the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=pathlib.Path, help="folder of radiographs of hands")
    parser.add_argument("--bundle", default=resources.DEFAULT_BUNDLE, help="a shipped bundle's name, or a file")
    parser.add_argument("--views", type=int, default=2, choices=(1, 2, 6))
    parser.add_argument("--most", type=int, help="images of a kind, at most")
    parser.add_argument("--most-real", type=int, help="hands of --real that are read whole, at most")
    parser.add_argument("--shown", type=int, default=8, help="images of a kind in kinds.png")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("wrong_inputs"))
    options = parser.parse_args()
    for line in wrong_sets.absent():
        print(line)
    request = AssessRequest((), bundle=resources.bundle_file(options.bundle), views=options.views)
    with Tree() as tree, Assessor(request) as assessor:
        hands = radiographs.found(tree, [options.real]) if options.real else []
        total = sum(min(kind.count, options.most or kind.count) for kind in wrong_sets.kinds(hands))
        total += min(len(hands), options.most_real or len(hands))
        readings = list(
            progress(read(assessor, inputs(hands, options.most, options.most_real)), total=total, label="images")
        )
    print("\n".join(table(readings)))
    print(f"bundle {options.bundle}, {options.views} views; {hardware()}; {versions('boneage-jax', 'jax')}")
    options.out.mkdir(parents=True, exist_ok=True)
    write_csv(readings, options.out / "wrong_inputs.csv")
    kinds = itertools.groupby(readings, key=lambda one: one.kind)
    write_sheet(
        [one for _, group in kinds for one in itertools.islice(group, options.shown)],
        options.shown,
        options.out / "kinds.png",
    )
    if silent := [one for one in readings if one.silent and one.kind != REAL_HANDS]:
        write_sheet(silent, 12, options.out / "silent.png")


if __name__ == "__main__":
    main()
