"""Bone ages of radiographs as they come: the whole chain, a batch at a time."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from boneage_jax import NOT_A_MEDICAL_DEVICE, parallel, resources
from boneage_jax.analysis.ensemble import Blend
from boneage_jax.config import renamed
from boneage_jax.data.images import Grey
from boneage_jax.data.labels import SEX_LETTERS
from boneage_jax.data.tree import Tree
from boneage_jax.errors import UserError, listed, printable
from boneage_jax.files import replacing
from boneage_jax.hand.age_ensemble import AgeEnsemble, learnt_from_phantoms
from boneage_jax.hand.pipeline import HandPipeline, Registered, Settings
from boneage_jax.hand.quality import NO_HAND, Thresholds
from boneage_jax.runs import bundle
from boneage_jax.runs.run_folder import LoadedRun
from boneage_jax.workflows import calibrate, radiographs
from boneage_jax.workflows.radiographs import Radiograph, Read
from boneage_jax.workflows.sexes import SexConflict

PHANTOMS_ONLY = "Trained on phantoms only, research demonstration: no reading of these radiographs."

SEX_DIFFERS = "PatientSex differs"
"""Flag of a DICOM file that says another sex than the user, who wants his own to count."""


@dataclasses.dataclass(frozen=True)
class AssessRequest:
    """What to read the age of, and with what.

    Attributes:
      paths: files, folders, zips and DICOMDIRs.
      runs: folders of age networks, or `FILE:MEMBER` of bundles, read as one; empty for those of the bundle.
      step: checkpoint of a single run; None for the best.
      bundle: file of `boneage bundle`, for all networks that are not named; None for the shipped one.
      segmentation: folder of a run; None for that of the bundle.
      landmarks: likewise.
      thresholds: file of `boneage calibrate` for these two; None for the bundle's, where both are its own, or the
        default.
      as_is: pictures show registered hands on the whole canvas already.
      sex: of all children, in any usual spelling; or empty. Where none is given, a DICOM file's PatientSex counts.
      sex_csv: table of `file,male`, see `radiographs.sexes_of`; or None.
      sex_conflict: what counts where a DICOM file says another one.
      views: that every network takes of a hand: see `chain.Settings` and `augment.TEST_TIME`.
      batch_size: radiographs at a time.
    """

    paths: tuple[pathlib.Path, ...]
    runs: tuple[pathlib.Path, ...] = ()
    step: int | None = None
    bundle: pathlib.Path | None = None
    segmentation: pathlib.Path | None = None
    landmarks: pathlib.Path | None = None
    thresholds: pathlib.Path | None = None
    as_is: bool = False
    sex: str = ""
    sex_csv: pathlib.Path | None = None
    sex_conflict: SexConflict = "error"
    views: int = 6
    batch_size: int = 16


@dataclasses.dataclass(frozen=True)
class Assessment:
    """One radiograph's bone age.

    Attributes:
      file: as it was named, as the file system has it: not always printable.
      months: bone age; NaN where no hand was found, or there is a problem. May lie outside 0 to 240 for a picture that
        is none.
      spread: standard deviation of it by the networks themselves, in months; NaN where nothing is known of it.
      sex: `M`, `F`, or empty where it was not given.
      flags: what speaks against it.
      problem: why it could not be read or used; empty where it could.
    """

    file: str
    months: float
    spread: float
    sex: str
    flags: tuple[str, ...] = ()
    problem: str = ""


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
      networks: where each network comes from, and which step of its training, for people.
    """

    def __init__(self, request: AssessRequest):
        """Opens the networks.

        Raises:
          UserError: for runs and bundles that cannot be used.
        """
        self._request = request
        shipped = _Shipped(request.bundle)
        ages = [bundle.load(path, "age0", step=request.step) for path in request.runs] or shipped.ages()
        self.ensemble = AgeEnsemble(
            ages,
            batch_size=request.batch_size,
            views=request.views,
            blend=Blend() if request.runs else shipped.blend(),
        )
        networks = list(ages)
        self._chain: HandPipeline | None = None
        if self.ensemble.regions and not request.as_is:
            first, second = (
                bundle.load(folder, name) if folder else shipped.run(name)
                for name, folder in (("segmentation", request.segmentation), ("landmarks", request.landmarks))
            )
            networks += [first, second]
            own = not (request.segmentation or request.landmarks)
            thresholds = shipped.thresholds() if own else Thresholds()
            if request.thresholds:
                thresholds = calibrate.read(request.thresholds).for_networks(
                    calibrate.networks(first, second), request.thresholds
                )
            settings = Settings(
                self.ensemble.regions,
                self.ensemble.canvas,
                thresholds,
                views=request.views,
                batch_size=request.batch_size,
            )
            self._chain = HandPipeline(first, second, settings)
        self.phantoms_only = any(map(learnt_from_phantoms, networks))
        self.networks = _origins(networks)

    def __enter__(self) -> Assessor:
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._chain is not None:
            self._chain.__exit__(*exception)

    def assess(self, found: Sequence[Radiograph] | None = None) -> Iterator[tuple[Assessment, Seen | None]]:
        """Yields each radiograph's age, and what it was read from, in order; a problem and None where it has none.

        Args:
          found: radiographs to read; None to look for those of the request.

        Raises:
          UserError: before the first, for paths without radiographs, tables that cannot be used, and a sex that a
            network needs and that nobody can say.
        """
        with contextlib.ExitStack() as stack:
            if found is None:
                found = radiographs.found(stack.enter_context(Tree()), self._request.paths)
            given = radiographs.sexes_of(found, self._request.sex, self._request.sex_csv)
            if self.ensemble.needs_sex:
                radiographs.expect_sexes(found, given)
            batches = parallel.in_batches(len(found), self._request.batch_size)
            with parallel.progress_of(total=len(found), label="reading ages") as bar:
                for batch, contents in parallel.read_ahead(lambda n: radiographs.read(found[n]), batches):
                    yield from self._batch([found[n].name for n in batch], contents, [given[n] for n in batch])
                    bar.update(len(batch))

    def _batch(
        self, names: Sequence[str], contents: Sequence[Read], given: Sequence[bool | None]
    ) -> Iterator[tuple[Assessment, Seen | None]]:
        """Ages of the radiographs of a batch that can be used, between the problems of the others."""
        claims = [self._claim(content, male) for content, male in zip(contents, given, strict=True)]
        usable = [n for n, claim in enumerate(claims) if not claim.problem]
        pictures = [picture for n in usable if (picture := contents[n].picture) is not None]
        ages = iter(self._ages([names[n] for n in usable], pictures, [claims[n] for n in usable]))
        for name, claim in zip(names, claims, strict=True):
            if claim.problem:
                yield Assessment(name, np.nan, np.nan, SEX_LETTERS[claim.male], problem=claim.problem), None
            else:
                yield next(ages)

    def _claim(self, content: Read, given: bool | None) -> _Claim:
        """Whose hand it is: what the user says, else what the file does; where they differ, what the request says."""
        male = content.male if given is None else given
        if content.picture is None:
            return _Claim(male, problem=content.problem)
        if male is None and self.ensemble.needs_sex:
            return _Claim(
                None,
                problem="the networks are told the sex, which neither its PatientSex nor --sex or --sex-csv gives",
            )
        if None in (given, content.male) or given == content.male:
            return _Claim(male)
        if self._request.sex_conflict == "error":
            return _Claim(
                None,
                problem=f"its PatientSex is {SEX_LETTERS[content.male]}, {SEX_LETTERS[given]} was given; correct one, "
                "or say which counts with --sex-conflict=keep-given or use-dicom",
            )
        if self._request.sex_conflict == "use-dicom":
            return _Claim(content.male, (SEX_DIFFERS,))
        return _Claim(given, (SEX_DIFFERS,))

    def _ages(
        self, names: Sequence[str], pictures: Sequence[Grey], claims: Sequence[_Claim]
    ) -> Iterator[tuple[Assessment, Seen]]:
        if not pictures:
            return
        hands: Sequence[Registered | None] = [None] * len(pictures)
        if self._chain is not None:
            registered = self._chain.register(pictures)
            hands, regions = registered, [hand.regions for hand in registered]
        else:
            regions = [self.ensemble.on_canvas(picture) for picture in pictures]
        ages = self.ensemble.read(regions, pictures, [claim.male for claim in claims])
        for n, (name, claim, hand) in enumerate(zip(names, claims, hands, strict=True)):
            nowhere = hand is not None and NO_HAND in hand.quality.flags
            months, spread = (np.nan, np.nan) if nowhere else (float(ages.months[n]), float(ages.spread[n]))
            flags = (*(hand.quality.flags if hand else ()), *claim.flags)
            yield (
                Assessment(name, months, spread, SEX_LETTERS[claim.male], flags),
                Seen(
                    pictures[n],
                    hand.mask.inside if hand else None,
                    hand.placed.key_points if hand and hand.placed else None,
                    tuple(regions[n].values()),
                ),
            )


@dataclasses.dataclass(frozen=True)
class _Claim:
    """Whose hand a radiograph shows.

    Attributes:
      male: whether a boy's; None where that is not known.
      flags: what speaks against that.
      problem: why the radiograph cannot be used; empty where it can.
    """

    male: bool | None
    flags: tuple[str, ...] = ()
    problem: str = ""


def _origins(networks: Sequence[LoadedRun]) -> tuple[str, ...]:
    """Where networks lie and which steps of their trainings they are, one line a run or bundle."""
    found: dict[str, list[str]] = {}
    for loaded in networks:
        shipped = loaded.folder == resources.shipped_bundle()
        place = f"the shipped bundle {loaded.folder.stem}" if shipped else legible(str(loaded.folder))
        found.setdefault(place, []).append(loaded.chosen)
    return tuple(f"{place}: {'; '.join(dict.fromkeys(chosen))}" for place, chosen in found.items())


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

    def thresholds(self) -> Thresholds:
        """Returns the quality thresholds for its masks and key points."""
        stored = renamed.stored(self._bundle.about).get("thresholds")
        return calibrate.thresholds_of(stored) if stored else Thresholds()


def write_csv(assessments: Sequence[Assessment], path: pathlib.Path) -> None:
    """Writes `file,months,spread,sex,flags,problem`, whole or not at all, in UTF-8.

    A file whose name is not UTF-8 stands there as its `file:` URI, from which every byte can be had back.

    Raises:
      UserError: where that is impossible.
    """
    with replacing(path) as scratch, scratch.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "months", "spread", "sex", "flags", "problem"])
        for a in assessments:
            writer.writerow(
                [faithful(a.file), _number(a.months), _number(a.spread), a.sex, ", ".join(a.flags), a.problem]
            )


def faithful(name: str) -> str:
    """Returns a file's name, or its `file:` URI where the name is not UTF-8."""
    return name if printable(name) == name else pathlib.Path(name).absolute().as_uri()


def legible(name: str) -> str:
    """Returns a file's name for people: whatever no screen can show, line ends among it, as `\\xff`."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in printable(name))


def _number(value: float) -> str:
    return f"{value:.1f}" if np.isfinite(value) else ""


def shown(assessment: Assessment) -> str:
    """Returns an age for people."""
    if not np.isfinite(assessment.months):
        return "no age"
    spread = f" ± {assessment.spread:.1f}" if np.isfinite(assessment.spread) else ""
    return f"{assessment.months:.1f}{spread} months ({assessment.months / 12:.1f} years)"


def as_text(
    assessments: Sequence[Assessment],
    out: pathlib.Path | None,
    page: pathlib.Path | None,
    *,
    phantoms_only: bool,
    networks: Sequence[str],
) -> str:
    """Returns the ages for people, with what they come from and may be taken for."""
    read = [a for a in assessments if not a.problem]
    lines = [
        f"{shown(a):>32}  {a.sex or '-'}  {legible(a.file)}" + (f"  [{', '.join(a.flags)}]" if a.flags else "")
        for a in read[:20]
    ]
    if len(read) > 20:
        lines.append(f"... and {len(read) - 20} more")
    if len(read) < len(assessments):
        lines.append(f"{len(assessments) - len(read)} of {len(assessments)} could not be used:")
        lines.append(problems_listed(assessments))
    flagged = sum(bool(a.flags) for a in read)
    if flagged:
        lines.append(f"{flagged} of {len(assessments)} flagged: look at them before you use them")
    lines += [f"networks of {network}" for network in networks]
    if phantoms_only:
        lines.append(PHANTOMS_ONLY)
    lines.append(NOT_A_MEDICAL_DEVICE)
    if out:
        lines.append(f"{len(read)} predictions lie in {legible(str(out))}")
    if page:
        lines.append(f"page      {legible(str(page))}")
    return "\n".join(lines)


def problems_listed(assessments: Sequence[Assessment]) -> str:
    """Returns the radiographs that could not be used, with the reason, one a line."""
    return listed([f"{legible(a.file)}: {a.problem}" for a in assessments if a.problem])
