"""Bone ages of radiographs as they come, PNG, JPEG or DICOM: the whole chain, a batch at a time."""

from __future__ import annotations

import concurrent.futures
import csv
import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from boneage_jax import NOT_A_MEDICAL_DEVICE, resources
from boneage_jax.analysis.ensemble import Blend
from boneage_jax.data import images, labels, parallel
from boneage_jax.data.images import Grey
from boneage_jax.errors import UserError, fail_if_any
from boneage_jax.files import replacing
from boneage_jax.hand import calibrate
from boneage_jax.hand.ages import AgeReaders, learnt_from_phantoms
from boneage_jax.hand.chain import Chain, Registered, Settings
from boneage_jax.hand.quality import NO_HAND, Limits
from boneage_jax.train import bundle
from boneage_jax.train.run import LoadedRun

PHANTOMS_ONLY = "Trained on phantoms only, research demonstration: no reading of these radiographs."

_THREADS = 4


@dataclasses.dataclass(frozen=True)
class AssessRequest:
    """What to read the age of, and with what.

    Attributes:
      paths: files and folders.
      runs: folders of age networks, or `FILE:MEMBER` of bundles, read as one; empty for those of the bundle.
      step: checkpoint of a single run; None for the best.
      bundle: file of `boneage bundle`, for all networks that are not named; None for the shipped one.
      segmentation: folder of a run; None for that of the bundle.
      landmarks: likewise.
      limits: file of `boneage calibrate` for these two; None for the bundle's, where both are its own, or the default.
      as_is: pictures show registered hands on the whole canvas already.
      sex: of all children, in any usual spelling; or empty.
      sex_csv: table of `file,male`, the file by its name with or without ending; or None.
      views: that every network takes of a hand: see `chain.Settings` and `augment.TEST_TIME`.
      batch_size: radiographs at a time.
    """

    paths: tuple[pathlib.Path, ...]
    runs: tuple[pathlib.Path, ...] = ()
    step: int | None = None
    bundle: pathlib.Path | None = None
    segmentation: pathlib.Path | None = None
    landmarks: pathlib.Path | None = None
    limits: pathlib.Path | None = None
    as_is: bool = False
    sex: str = ""
    sex_csv: pathlib.Path | None = None
    views: int = 6
    batch_size: int = 16


@dataclasses.dataclass(frozen=True)
class Assessment:
    """One radiograph's bone age.

    Attributes:
      file: as it was named.
      months: bone age; NaN where no hand was found. May lie outside 0 to 240 for a picture that is none.
      spread: standard deviation of it by the networks themselves, in months; NaN where nothing is known of it.
      sex: `M`, `F`, or empty where it was not given.
      flags: what speaks against it.
    """

    file: pathlib.Path
    months: float
    spread: float
    sex: str
    flags: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Seen:
    """What an assessment was made from, for pictures of it.

    Attributes:
      picture: the radiograph.
      mask: of the hand; None where pictures were taken as they are.
      key_points: in the radiograph's pixels; None where there are none.
      regions: that the networks saw.
    """

    picture: Grey
    mask: Bool[np.ndarray, "h w"] | None
    key_points: Float[np.ndarray, "3 2"] | None
    regions: tuple[Grey, ...]


class Assessor:
    """Networks from radiograph to age.

    Attributes:
      phantoms_only: whether a network of it has seen rendered hands only.
    """

    def __init__(self, request: AssessRequest):
        """Opens the networks.

        Raises:
          UserError: for runs and bundles that cannot be used.
        """
        self._request = request
        shipped = _Shipped(request.bundle)
        ages = [bundle.load(path, "age0", step=request.step) for path in request.runs] or shipped.ages()
        self.readers = AgeReaders(
            ages,
            batch_size=request.batch_size,
            views=request.views,
            blend=Blend() if request.runs else shipped.blend(),
        )
        networks = list(ages)
        self._chain: Chain | None = None
        if self.readers.regions and not request.as_is:
            first, second = (
                bundle.load(folder, name) if folder else shipped.run(name)
                for name, folder in (("segmentation", request.segmentation), ("landmarks", request.landmarks))
            )
            networks += [first, second]
            own = not (request.segmentation or request.landmarks)
            limits = shipped.limits() if own else Limits()
            if request.limits:
                limits = calibrate.read(request.limits).for_networks(calibrate.networks(first, second), request.limits)
            settings = Settings(
                self.readers.regions, self.readers.canvas, limits, views=request.views, batch_size=request.batch_size
            )
            self._chain = Chain(first, second, settings)
        self.phantoms_only = any(map(learnt_from_phantoms, networks))

    def __enter__(self) -> Assessor:
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._chain is not None:
            self._chain.__exit__(*exception)

    def assess(self) -> Iterator[tuple[Assessment, Seen]]:
        """Yields each radiograph's age, and what it was read from, in order of the files.

        Raises:
          UserError: before the first, for files that cannot be read (all of them named), or a sex that a network needs
            and that was not given.
        """
        request = self._request
        files = images.find(list(request.paths))
        males = sexes_of(files, request.sex, request.sex_csv)
        if self.readers.needs_sex:
            fail_if_any(
                [str(file) for file, male in zip(files, males, strict=True) if male is None],
                "the networks are told the sex, which is not given for these files",
                "Give it with --sex M, --sex F or --sex-csv FILE with the columns file,male.",
            )
        _check_readable(files)
        batches = parallel.in_batches(len(files), request.batch_size)
        with parallel.progress_of(total=len(files), label="reading ages") as bar:
            for batch, pictures in parallel.read_ahead(lambda n: images.read(files[n]), batches):
                yield from self._batch([files[n] for n in batch], pictures, [males[n] for n in batch])
                bar.update(len(batch))

    def _batch(
        self, files: Sequence[pathlib.Path], pictures: Sequence[Grey], males: Sequence[bool | None]
    ) -> Iterator[tuple[Assessment, Seen]]:
        hands: Sequence[Registered | None] = [None] * len(files)
        if self._chain is not None:
            registered = self._chain.register(pictures)
            hands, regions = registered, [hand.regions for hand in registered]
        else:
            regions = [self.readers.on_canvas(picture) for picture in pictures]
        ages = self.readers.read(regions, pictures, males)
        for n, (file, male, hand) in enumerate(zip(files, males, hands, strict=True)):
            nowhere = hand is not None and NO_HAND in hand.verdict.flags
            months, spread = (np.nan, np.nan) if nowhere else (float(ages.months[n]), float(ages.spread[n]))
            yield (
                Assessment(file, months, spread, _LETTERS[male], hand.verdict.flags if hand else ()),
                Seen(
                    pictures[n],
                    hand.mask.inside if hand else None,
                    hand.placed.key_points if hand and hand.placed else None,
                    tuple(regions[n].values()),
                ),
            )


_LETTERS = {None: "", True: "M", False: "F"}


class _Shipped:
    """The bundle's networks, opened when the first of them is wanted."""

    def __init__(self, path: pathlib.Path | None):
        self._path = path or resources.shipped_bundle()

    @functools.cached_property
    def _bundle(self) -> bundle.Bundle:
        return bundle.read(self._path)

    def run(self, name: str) -> LoadedRun:
        """Returns a network by its name."""
        runs = self._bundle.runs
        if name not in runs:
            raise UserError(f"{self._path}: holds no {name!r} but {', '.join(runs)}; name a run with --{name}")
        return runs[name]

    def ages(self) -> list[LoadedRun]:
        """Returns the age networks."""
        found = [loaded for loaded in self._bundle.runs.values() if loaded.task.needs_age]
        if not found:
            raise UserError(f"{self._path}: holds no age network; name a run with --run")
        return found

    def blend(self) -> Blend:
        """Returns how their ages become one."""
        return Blend.of(self._bundle.about.get("blend", {}))

    def limits(self) -> Limits:
        """Returns the limits of trust for its masks and key points."""
        stored = self._bundle.about.get("limits")
        return calibrate.limits_of(stored) if stored else Limits()


def _check_readable(files: Sequence[pathlib.Path]) -> None:
    """Raises `UserError` that names all files that cannot be read: before hours of work, not after."""

    def problem(file: pathlib.Path) -> str:
        try:
            images.read(file)
        except UserError as error:
            return str(error)
        return ""

    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        problems = [text for text in pool.map(problem, files) if text]
    fail_if_any(problems, "files that cannot be read", "Remove or replace them; nothing was written.")


def sexes_of(files: Sequence[pathlib.Path], sex: str, sex_csv: pathlib.Path | None) -> list[bool | None]:
    """Returns whether each file's child is a boy; None where that is not said.

    Raises:
      UserError: for spellings and tables that cannot be used.
    """
    if sex and sex_csv:
        raise UserError("found both --sex and --sex-csv, expected one of them")
    if sex:
        try:
            return [labels.parse_sex(sex)] * len(files)
        except ValueError as error:
            raise UserError(f"--sex: {error}") from error
    if sex_csv is None:
        return [None] * len(files)
    try:
        data = sex_csv.read_bytes()
    except OSError as error:
        raise UserError(f"{sex_csv}: {error.strerror}; expected a CSV with the columns file,male") from error
    rows, offenders = labels.read_table(sex_csv.name, data)
    fail_if_any(offenders, f"{sex_csv}: rows that cannot be used", "Correct or remove these rows.")
    known = {pathlib.PurePath(row.id).name: row.male for row in rows}
    return [known.get(file.stem, known.get(file.name)) for file in files]


def write_csv(assessments: Sequence[Assessment], path: pathlib.Path) -> None:
    """Writes `file,months,spread,sex,flags`, whole or not at all. Raises `UserError` where that is impossible."""
    with replacing(path) as scratch, scratch.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "months", "spread", "sex", "flags"])
        for a in assessments:
            writer.writerow([a.file, _number(a.months), _number(a.spread), a.sex, ", ".join(a.flags)])


def _number(value: float) -> str:
    return f"{value:.1f}" if np.isfinite(value) else ""


def shown(assessment: Assessment) -> str:
    """Returns an age for people."""
    if not np.isfinite(assessment.months):
        return "no age"
    spread = f" ± {assessment.spread:.1f}" if np.isfinite(assessment.spread) else ""
    return f"{assessment.months:.1f}{spread} months ({assessment.months / 12:.1f} years)"


def as_text(
    assessments: Sequence[Assessment], out: pathlib.Path | None, page: pathlib.Path | None, *, phantoms_only: bool
) -> str:
    """Returns the ages for people, with what they may be taken for."""
    lines = [
        f"{shown(a):>32}  {a.sex or '-'}  {a.file}" + (f"  [{', '.join(a.flags)}]" if a.flags else "")
        for a in assessments[:20]
    ]
    if len(assessments) > 20:
        lines.append(f"... and {len(assessments) - 20} more")
    flagged = sum(bool(a.flags) for a in assessments)
    if flagged:
        lines.append(f"{flagged} of {len(assessments)} flagged: look at them before you use them")
    if phantoms_only:
        lines.append(PHANTOMS_ONLY)
    lines.append(NOT_A_MEDICAL_DEVICE)
    if out:
        lines.append(f"{len(assessments)} predictions lie in {out}")
    if page:
        lines.append(f"page      {page}")
    return "\n".join(lines)
