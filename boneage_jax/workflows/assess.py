"""Bone ages of radiographs as acquired: hand, regions, age, a batch at a time."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float

from boneage_jax import NOT_A_MEDICAL_DEVICE, parallel, resources
from boneage_jax.analysis.conformal import LEVELS, ConformalIntervals
from boneage_jax.analysis.ensemble import Blend
from boneage_jax.analysis.local_calibration import LocalCalibration
from boneage_jax.data.images import Grey
from boneage_jax.data.labels import SEX_LETTERS
from boneage_jax.data.tree import Tree
from boneage_jax.errors import listed, printable
from boneage_jax.files import replacing
from boneage_jax.hand import turning
from boneage_jax.hand.age_ensemble import AgeEnsemble, trained_on_phantoms
from boneage_jax.hand.pipeline import HandPipeline, Registered, Settings
from boneage_jax.hand.quality import NO_HAND, Thresholds
from boneage_jax.hand.turning import Found
from boneage_jax.runs import bundle, run_folder
from boneage_jax.runs.run_folder import LoadedRun
from boneage_jax.workflows import radiographs
from boneage_jax.workflows.fitted import INTERVALS, LINES, Fit, Kind
from boneage_jax.workflows.hand_networks import BundledNetworks, HandNetworks, terms_of
from boneage_jax.workflows.radiographs import ChildSex, Radiograph, Read
from boneage_jax.workflows.requests import AssessRequest

PHANTOMS_ONLY = "Trained on phantoms only, research demonstration: no reading of these radiographs."

UNCALIBRATED = "uncalibrated"
"""Mark of flags whose thresholds were not chosen for the networks."""

UNCALIBRATED_NOTICE = (
    "Quality flags are uncalibrated: their thresholds were not chosen for these networks. "
    "See boneage calibrate quality."
)


@dataclasses.dataclass(frozen=True)
class Interval:
    """Ages that hold a promised share of readings.

    Attributes:
      level: the share, between 0 and 1.
      low: lower end, in months.
      high: upper end, in months.
    """

    level: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Assessment:
    """One radiograph's bone age.

    Attributes:
      file: name of the radiograph, as it was given; not always printable.
      months: bone age; NaN where no hand was found, or there is a problem. May lie outside 0 to 240 for an image that
        shows no hand.
      spread: its standard deviation by the networks' own estimate, in months; NaN where they give none.
      sex: `M`, `F`, or empty where it was not given.
      flags: reasons to look at the radiograph before its age is used.
      problem: why it could not be read or used; empty where it could.
      calibrated: whether the quality thresholds behind the flags were chosen for the networks that found the hand; True
        where no hand was looked for.
      intervals: of the age, from the least level on; empty where the networks have none, or there is no age.
      turned: degrees that the radiograph was turned by, counterclockwise, before its hand was found.
    """

    file: str
    months: float
    spread: float
    sex: str
    flags: tuple[str, ...] = ()
    problem: str = ""
    calibrated: bool = True
    intervals: tuple[Interval, ...] = ()
    turned: int = 0

    @property
    def remarks(self) -> tuple[str, ...]:
        """What people must know of how it was read, and is no reason for doubt."""
        return (f"turned by {self.turned} degrees",) if self.turned else ()

    @property
    def marked_flags(self) -> tuple[str, ...]:
        """The flags for people and tables: those of uncalibrated thresholds say so, as in `cut off (uncalibrated)`."""
        if self.calibrated:
            return self.flags
        return tuple(flag if flag == radiographs.SEX_DIFFERS else f"{flag} ({UNCALIBRATED})" for flag in self.flags)


@dataclasses.dataclass(frozen=True)
class Seen:
    """What an assessment was made from, for pages and overlays.

    Attributes:
      image: the radiograph, turned by the degrees of its assessment.
      mask: of the hand; None where no hand was looked for.
      key_points: in the radiograph's pixels; None where there are none.
      regions: that the age networks took.
      hand: as it was registered; None where no hand was looked for.
    """

    image: Grey
    mask: Bool[np.ndarray, "h w"] | None
    key_points: Float[np.ndarray, "3 2"] | None
    regions: tuple[Grey, ...]
    hand: Registered | None = None


class Assessor:
    """Networks from radiograph to age.

    Attributes:
      ensemble: of the age networks.
      phantoms_only: whether one of the age networks was trained on phantoms only.
      networks: where each network comes from, and which step of its training it is, for people.
      calibrated: whether the quality thresholds were chosen for the networks; True where no hand is looked for.
      age_calibration: lines that ages are corrected by; None for none.
      intervals: of the ages; None for none.
      remarks: what else people must know about its ages: terms of its networks, what these have seen, corrections.
    """

    def __init__(self, request: AssessRequest, *, calibrated_ages: bool = True):
        """Opens the networks.

        Args:
          request: which networks, and how they are used; `paths` may be empty where `assess` is told what to read.
          calibrated_ages: whether ages are corrected by the calibration of the request or of the bundle.

        Raises:
          UserError: for runs and bundles that cannot be used.
        """
        self._request = request
        self._bundled = BundledNetworks(request.bundle)
        ages = [bundle.load(ref, "age0", step=request.step) for ref in request.runs] or self._bundled.ages()
        self.ensemble = AgeEnsemble(
            ages,
            batch_size=request.batch_size,
            views=request.views,
            blend=Blend() if request.runs else self._bundled.blend(),
        )
        finders: list[LoadedRun] = []
        self.calibrated = True
        self._pipeline: HandPipeline | None = None
        self._finds_hands = bool(self.ensemble.regions) and not request.as_is
        if self._finds_hands:
            of_hand = self._hand_networks()
            finders = [of_hand.segmentation, of_hand.landmarks]
            self.calibrated = of_hand.calibration is not None
            self._pipeline = self._opened(of_hand)
        self.phantoms_only = any(map(trained_on_phantoms, ages))
        self._networks = (*ages, *finders)
        self.networks = _origins(self._networks)
        self.age_calibration = self._age_calibration() if calibrated_ages else None
        self.intervals = self._intervals() if calibrated_ages else None
        self.remarks = self._remarks(finders)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Of all weights: other networks have another."""
        return " ".join(map(run_folder.digest, self._networks))

    def thresholds(self) -> Thresholds | None:
        """Returns the quality thresholds behind the flags; None where no hand is looked for."""
        return self._pipeline.settings.thresholds if self._pipeline is not None else None

    def _age_calibration(self) -> LocalCalibration | None:
        return self._fitted(LINES, self._request.age_calibration)

    def _intervals(self) -> ConformalIntervals | None:
        """The intervals; none where the request corrects ages otherwise than those that they were fitted to."""
        if self._request.intervals is None and self._request.age_calibration is not None:
            return None
        return self._fitted(INTERVALS, self._request.intervals)

    def _fitted(self, kind: Kind[Fit], path: pathlib.Path | None) -> Fit | None:
        """What was fitted to the networks' ages: of a file, else of their bundle."""
        if path is not None:
            return kind.read(path, self.fingerprint)
        return None if self._request.runs else self._bundled.fitted(kind)

    def _remarks(self, finders: Sequence[LoadedRun]) -> tuple[str, ...]:
        found = list(terms_of(self._networks))
        if any(map(trained_on_phantoms, finders)) and not self.phantoms_only:
            found.append("Hands are found by networks that have seen phantoms only.")
        if self.age_calibration is not None:
            found.append(self.age_calibration.remark())
        if self.intervals is not None:
            found.append(self.intervals.remark())
        if self.phantoms_only:
            found.append(PHANTOMS_ONLY)
        return tuple(found)

    @property
    def needs_sex(self) -> bool:
        """Whether a child's sex must be known: to the networks, to the calibration of ages, or to the intervals."""
        return self.ensemble.needs_sex or self.age_calibration is not None or self.intervals is not None

    def _hand_networks(self) -> HandNetworks:
        request = self._request
        return self._bundled.hand_networks(request.segmentation, request.landmarks, request.thresholds)

    def _opened(self, networks: HandNetworks) -> HandPipeline:
        settings = Settings(
            self.ensemble.regions,
            self.ensemble.canvas,
            networks.thresholds(),
            networks.calibration is not None,
            views=self._request.views,
            batch_size=self._request.batch_size,
        )
        return HandPipeline(networks.segmentation, networks.landmarks, settings)

    def __enter__(self) -> Assessor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the threads."""
        if self._pipeline is not None:
            self._pipeline.close()

    def assess(
        self,
        found: Sequence[Radiograph] | None = None,
        males: Sequence[bool | None] | None = None,
        *,
        progress: bool = True,
        label: str = "reading ages",
    ) -> Iterator[tuple[Assessment, Seen | None]]:
        """Yields each radiograph's age with what it was made from, in order; None where there is a problem.

        Args:
          found: radiographs to read, from `radiographs.found`, `of_array` or `of_dicom`; None for the request's paths.
          males: whether each child is a boy, None where a DICOM file's PatientSex counts; None for the request's sexes.
          progress: whether to show a bar on standard error.
          label: of the bar.

        Raises:
          UserError: before the first, for paths without radiographs, tables that cannot be used, and a sex that the
            networks need and that is neither given nor can be stated by the file.
        """
        with contextlib.ExitStack() as stack:
            if found is None:
                found = radiographs.found(stack.enter_context(Tree()), self._request.paths)
            given = radiographs.sexes_of(found, self._request.sex, self._request.sex_csv) if males is None else males
            if self.needs_sex:
                radiographs.expect_sexes(found, given)
            batches = parallel.in_batches(len(found), self._request.batch_size)
            bar = stack.enter_context(parallel.progress_of(total=len(found), label=label)) if progress else None
            for batch, contents in parallel.read_ahead(lambda n: radiographs.read(found[n]), batches):
                yield from self._batch([found[n].name for n in batch], contents, [given[n] for n in batch])
                if bar is not None:
                    bar.update(len(batch))

    def register(self, images: Sequence[Grey]) -> list[Found]:
        """Returns the registered hands of radiographs, turned where needed, without ages; with any age networks.

        Args:
          images: any number of radiographs, of any sizes.

        Raises:
          UserError: for networks that cannot be used, where they are opened only now: age networks that take
            radiographs whole need none that find hands.
        """
        self._pipeline = self._pipeline or self._opened(self._hand_networks())
        batches = parallel.in_batches(len(images), self._request.batch_size)
        register = self._pipeline.register
        return [found for batch in batches for found in turning.found_upright(register, [images[n] for n in batch])]

    def _batch(
        self, names: Sequence[str], contents: Sequence[Read], given: Sequence[bool | None]
    ) -> Iterator[tuple[Assessment, Seen | None]]:
        """Ages of the radiographs of a batch that can be used, between the problems of the others."""
        sexes = [self._sex(content, male) for content, male in zip(contents, given, strict=True)]
        usable = [n for n, sex in enumerate(sexes) if not sex.problem]
        images = [image for n in usable if (image := contents[n].image) is not None]
        ages = iter(self._ages([names[n] for n in usable], images, [sexes[n] for n in usable]))
        for name, sex in zip(names, sexes, strict=True):
            if sex.problem:
                yield Assessment(name, np.nan, np.nan, SEX_LETTERS[sex.male], problem=sex.problem), None
            else:
                yield next(ages)

    def _sex(self, content: Read, given: bool | None) -> ChildSex:
        """The sex that counts; a radiograph that cannot be read is a problem too."""
        if content.image is None:
            return ChildSex(content.stated.male if given is None else given, problem=content.problem)
        return radiographs.sex_that_counts(
            given, content.stated.male, self._request.sex_conflict, needed=self.needs_sex
        )

    def _ages(
        self, names: Sequence[str], images: Sequence[Grey], sexes: Sequence[ChildSex]
    ) -> Iterator[tuple[Assessment, Seen]]:
        if not images:
            return
        hands: Sequence[Registered | None] = [None] * len(images)
        turned = [0] * len(images)
        if self._finds_hands:
            found = self.register(images)
            hands, images, turned = (
                [one.hand for one in found],
                [one.image for one in found],
                [one.turned for one in found],
            )
            regions = [one.hand.regions for one in found]
        else:
            regions = [self.ensemble.on_canvas(image) for image in images]
        ages = self.ensemble.predict(regions, images, [sex.male for sex in sexes])
        male = np.array([bool(sex.male) for sex in sexes])
        if self.age_calibration is not None:
            ages = dataclasses.replace(ages, months=self.age_calibration(ages.months, male))
        intervals = self.intervals(ages.months, ages.spread, male) if self.intervals is not None else None
        for n, (name, sex, hand) in enumerate(zip(names, sexes, hands, strict=True)):
            nowhere = hand is not None and NO_HAND in hand.quality.flags
            months, spread = (np.nan, np.nan) if nowhere else (float(ages.months[n]), float(ages.spread[n]))
            flags = (*(hand.quality.flags if hand else ()), *sex.flags)
            yield (
                Assessment(
                    name,
                    months,
                    spread,
                    SEX_LETTERS[sex.male],
                    flags,
                    calibrated=hand is None or hand.quality.calibrated,
                    intervals=self._ends(intervals, n) if np.isfinite(months) else (),
                    turned=turned[n],
                ),
                Seen(
                    images[n],
                    hand.mask.inside if hand else None,
                    hand.registration.key_points if hand and hand.registration else None,
                    tuple(regions[n].values()),
                    hand,
                ),
            )

    def _ends(self, intervals: Float[np.ndarray, "levels n 2"] | None, n: int) -> tuple[Interval, ...]:
        """The intervals of one age."""
        if self.intervals is None or intervals is None:
            return ()
        return tuple(
            Interval(level, float(low), float(high))
            for level, (low, high) in zip(self.intervals.levels, intervals[:, n], strict=True)
        )


def _origins(networks: Sequence[LoadedRun]) -> tuple[str, ...]:
    """Where networks lie and which steps of their trainings they are, one line a run or bundle."""
    found: dict[str, list[str]] = {}
    for loaded in networks:
        shipped = loaded.folder in map(resources.shipped_bundle, resources.shipped_bundles())
        place = f"the shipped bundle {loaded.folder.stem}" if shipped else legible(str(loaded.folder))
        found.setdefault(place, []).append(loaded.chosen)
    return tuple(f"{place}: {'; '.join(dict.fromkeys(chosen))}" for place, chosen in found.items())


def write_csv(assessments: Sequence[Assessment], path: pathlib.Path) -> None:
    """Writes `file,months,spread,low_80,high_80,low_90,high_90,sex,flags,problem`, whole or not at all, in UTF-8.

    The intervals' columns are those of `conformal.LEVELS`, empty where there are none.

    Flags of thresholds that were not chosen for the networks are marked, as in `cut off (uncalibrated)`. A file whose
    name is not UTF-8 is written as its `file:` URI, which keeps every byte.

    Raises:
      UserError: where that is impossible.
    """
    with replacing(path) as scratch, scratch.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        ends = [f"{end}_{100 * level:.0f}" for level in LEVELS for end in ("low", "high")]
        writer.writerow(["file", "months", "spread", *ends, "sex", "flags", "problem"])
        for a in assessments:
            of = {one.level: (_number(one.low), _number(one.high)) for one in a.intervals}
            numbers = [
                _number(a.months),
                _number(a.spread),
                *(end for level in LEVELS for end in of.get(level, ("", ""))),
            ]
            writer.writerow([faithful(a.file), *numbers, a.sex, ", ".join(a.marked_flags), a.problem])


def faithful(name: str) -> str:
    """Returns a file's name, or its `file:` URI where the name is not UTF-8."""
    return name if printable(name) == name else pathlib.Path(name).absolute().as_uri()


def legible(name: str) -> str:
    """Returns a file's name for people: what cannot be displayed, as line ends, in the form `\\xff`."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in printable(name))


def _number(value: float) -> str:
    return f"{value:.1f}" if np.isfinite(value) else ""


def shown(assessment: Assessment) -> str:
    """Returns an age for people: with its widest interval, or with its spread where it has none."""
    if not np.isfinite(assessment.months):
        return "no age"
    spread = f" ± {assessment.spread:.1f}" if np.isfinite(assessment.spread) else ""
    if assessment.intervals:
        widest = assessment.intervals[-1]
        spread = f" [{widest.low:.1f}, {widest.high:.1f}]"
    return f"{assessment.months:.1f}{spread} months ({assessment.months / 12:.1f} years)"


def as_text(
    assessments: Sequence[Assessment],
    out: pathlib.Path | None,
    page: pathlib.Path | None,
    *,
    networks: Sequence[str],
    remarks: Sequence[str],
) -> str:
    """Returns the ages for people, with their networks, and notes on what they may be used for."""
    read = [a for a in assessments if not a.problem]
    lines = [
        f"{shown(a):>32}  {a.sex or '-'}  {legible(a.file)}"
        + "".join(f"  ({remark})" for remark in a.remarks)
        + (f"  [{', '.join(a.marked_flags)}]" if a.flags else "")
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
    if not all(a.calibrated for a in read):
        lines.append(UNCALIBRATED_NOTICE)
    lines += [f"networks of {network}" for network in networks]
    lines += remarks
    lines.append(NOT_A_MEDICAL_DEVICE)
    if out:
        lines.append(f"{len(read)} predictions lie in {legible(str(out))}")
    if page:
        lines.append(f"page      {legible(str(page))}")
    return "\n".join(lines)


def problems_listed(assessments: Sequence[Assessment]) -> str:
    """Returns the radiographs that could not be used, with the reason, one a line."""
    return listed([f"{legible(a.file)}: {a.problem}" for a in assessments if a.problem])
