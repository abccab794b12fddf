"""Points as text: a file for each image, with lines as in `capitate 12 34`."""

import pathlib
from collections.abc import Sequence

from boneage_jax.data.annotations.format import Format
from boneage_jax.data.annotations.model import Annotation, collected


def _annotation(path: pathlib.Path) -> Annotation:
    lines = [line.rsplit(maxsplit=2) for line in path.read_text().splitlines()]
    return Annotation(f"{path.stem}.png", points={name: (float(x), float(y)) for name, x, y in lines})


def _read(paths: Sequence[pathlib.Path], folder: pathlib.Path | None) -> list[Annotation]:
    return [one for path in paths for one in collected(path, [("file", path)], _annotation)]


FORMAT = Format(name="points", suffix=".points", read=_read)
