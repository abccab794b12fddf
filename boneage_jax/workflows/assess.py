"""Bone ages of radiographs as acquired: hand, regions, age, a batch at a time."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool

from boneage_jax import parallel, resources
from boneage_jax.analysis import sd_score
from boneage_jax.analysis.conformal import ConformalIntervals
from boneage_jax.analysis.ensemble import Blend
from boneage_jax.analysis.local_calibration import LocalCalibration
from boneage_jax.canvas import hand_length
from boneage_jax.data.dicom_header import Stated
from boneage_jax.data.images import Grey
from boneage_jax.data.labels import SEX_LETTERS
from boneage_jax.data.tree import Tree
from boneage_jax.hand import attribution, quality, turning
from boneage_jax.hand.age_ensemble import AgeEnsemble, trained_on_phantoms
from boneage_jax.hand.attribution import Attribution
from boneage_jax.hand.pipeline import HandPipeline, Registered, Settings
from boneage_jax.hand.quality import NO_HAND, Thresholds
from boneage_jax.hand.turning import Found
from boneage_jax.runs import bundle, run_folder
from boneage_jax.runs.inference import Ages
from boneage_jax.runs.run_folder import LoadedRun
from boneage_jax.workflows import assess_text, flags, radiographs
from boneage_jax.workflows.assessment import PHANTOMS_ONLY, Assessment, Interval, NetworkAge, Seen
from boneage_jax.workflows.calibration import Calibration
from boneage_jax.workflows.fitted import INTERVALS, LINES, Fit, Kind
from boneage_jax.workflows.hand_networks import BundledNetworks, HandNetworks, terms_of
from boneage_jax.workflows.radiographs import ChildSex, Radiograph, Read
from boneage_jax.workflows.requests import MOST_VIEWS, AssessRequest


@dataclasses.dataclass(frozen=True)
class _Told:
    """What is told of a radiograph: its name, the child's sex and age since birth in months, None where unknown."""

    name: str
    male: bool | None
    chronological: float | None


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
            views=request.views or MOST_VIEWS,
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

    def _views(self, calibration: Calibration | None) -> int:
        """Views of the request, else those that the thresholds were chosen with: others flag more hands, or fewer."""
        stated = calibration.origin.views if calibration is not None and calibration.origin is not None else None
        return self._request.views or stated or MOST_VIEWS

    def _opened(self, networks: HandNetworks) -> HandPipeline:
        settings = Settings(
            self.ensemble.regions,
            self.ensemble.canvas,
            networks.thresholds(),
            networks.calibration is not None,
            views=self._views(networks.calibration),
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
        chronological: Sequence[float | None] | None = None,
        progress: bool = True,
        label: str = "reading ages",
    ) -> Iterator[tuple[Assessment, Seen | None]]:
        """Yields each radiograph's age with what it was made from, in order; None where there is a problem.

        Args:
          found: radiographs to read, from `radiographs.found`, `of_array` or `of_dicom`; None for the request's paths.
          males: whether each child is a boy, None where a DICOM file's PatientSex counts; None for the request's sexes.
          chronological: each child's age since birth in months, None where the header's counts; None for the request's.
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
            keep = self._request.keep_identifiers
            since_birth = [self._request.chronological_age] * len(found) if chronological is None else chronological
            for batch, contents in parallel.read_ahead(lambda n: radiographs.read(found[n], identifiers=keep), batches):
                told = [_Told(found[n].name, given[n], since_birth[n]) for n in batch]
                yield from self._batch(told, contents)
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

    def _batch(self, told: Sequence[_Told], contents: Sequence[Read]) -> Iterator[tuple[Assessment, Seen | None]]:
        """Ages of the radiographs of a batch that can be used, between the problems of the others."""
        sexes = [self._sex(content, one.male) for content, one in zip(contents, told, strict=True)]
        usable = [n for n, sex in enumerate(sexes) if not sex.problem]
        images = [image for n in usable if (image := contents[n].image) is not None]
        ages = iter(
            self._ages([told[n] for n in usable], images, [sexes[n] for n in usable], [contents[n] for n in usable])
        )
        for one, sex in zip(told, sexes, strict=True):
            if sex.problem:
                yield Assessment(one.name, np.nan, np.nan, SEX_LETTERS[sex.male], problem=sex.problem), None
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
        self, told: Sequence[_Told], images: Sequence[Grey], sexes: Sequence[ChildSex], contents: Sequence[Read]
    ) -> Iterator[tuple[Assessment, Seen]]:
        if not images:
            return
        found: Sequence[Found | None] = [None] * len(images)
        if self._finds_hands:
            upright = self.register(images)
            found, images, regions = upright, [one.image for one in upright], [one.hand.regions for one in upright]
        else:
            regions = [self.ensemble.on_canvas(image) for image in images]
        read = self.ensemble.predict(regions, images, [sex.male for sex in sexes])
        male = np.array([bool(sex.male) for sex in sexes])
        ages, members = self._corrected(read.blended, male), [self._corrected(one, male) for one in read.members]
        for n, (of, sex, one, content) in enumerate(zip(told, sexes, found, contents, strict=True)):
            hand, stated = one.hand if one else None, content.stated
            chronological, source = _chronological(of.chronological, stated)
            raised = (*(hand.quality.flags if hand else ()), *sex.flags, *flags.of_header(stated))
            refused = self._refused(hand, raised)
            months, spread = (np.nan, np.nan) if refused else (float(ages.months[n]), float(ages.spread[n]))
            read_as = Assessment(
                of.name,
                months,
                spread,
                SEX_LETTERS[sex.male],
                (*raised, *flags.of_age(months, chronological)),
                calibrated=hand is None or hand.quality.calibrated,
                refused=refused,
                turned=one.turned if one else 0,
                stated=stated,
                chronological_months=chronological,
                chronological_source=source,
                sd_score=_sd_score(months, chronological, sex.male),
                networks=() if refused else self._of_each(members, n),
                hand_mm=_length(hand, stated),
                identifiers=content.identifiers,
            )
            yield (
                dataclasses.replace(read_as, intervals=self._ends(read_as, sex.male)),
                Seen(
                    images[n],
                    hand.mask.inside if hand else None,
                    hand.registration.key_points if hand and hand.registration else None,
                    tuple(regions[n].values()),
                    hand,
                    self.ensemble.labels,
                    self._attribution(read_as, sex.male, regions[n], images[n]),
                ),
            )

    def _attribution(
        self, one: Assessment, male: bool | None, regions: dict[str, Grey], image: Grey
    ) -> Attribution | None:
        """Which bones an age rests on, where that is asked for; nothing for networks of radiographs as they are."""
        if not (self._request.attribution and self.ensemble.regions and np.isfinite(one.months)):
            return None
        return attribution.attribution(self.ensemble, regions, image, male=male, months=one.months)

    def _corrected(self, ages: Ages, male: Bool[np.ndarray, " n"]) -> Ages:
        """Ages by the lines of the request or of the bundle."""
        if self.age_calibration is None:
            return ages
        return dataclasses.replace(ages, months=self.age_calibration(ages.months, male))

    def _of_each(self, members: Sequence[Ages], n: int) -> tuple[NetworkAge, ...]:
        """What each network reads of one child."""
        return tuple(
            NetworkAge(region, float(one.months[n]), float(one.spread[n]))
            for region, one in zip(self.ensemble.members, members, strict=True)
        )

    def _refused(self, hand: Registered | None, raised: Sequence[str]) -> tuple[str, ...]:
        """The flags for which there is no age. Thresholds that were not chosen for the networks refuse none."""
        if hand is not None and hand.registration is None:
            return (NO_HAND,)
        if self._request.force:
            return ()
        refusing = flags.REFUSING
        if hand is not None and not hand.quality.calibrated:
            refusing = (refusing - quality.REFUSING) | {NO_HAND}
        return tuple(flag for flag in raised if flag in refusing)

    def _ends(self, one: Assessment, male: bool | None) -> tuple[Interval, ...]:
        """The intervals of one age."""
        if self.intervals is None or not np.isfinite(one.months):
            return ()
        of = (np.array([one.months]), np.array([one.spread]), np.array([bool(male)]), np.array([one.doubtful]))
        ends = self.intervals(*of)
        return tuple(
            Interval(level, float(low), float(high))
            for level, (low, high) in zip(self.intervals.levels, ends[:, 0], strict=True)
        )


def _length(hand: Registered | None, stated: Stated) -> float | None:
    """Length of a hand in millimetres, where the header states the spacing of pixels."""
    if hand is None or hand.registration is None or stated.spacing_mm is None:
        return None
    return float(hand_length(hand.registration.key_points)) * stated.spacing_mm


def _chronological(given: float | None, stated: Stated) -> tuple[float | None, str]:
    """The chronological age in months, and where it comes from: what is given counts for more than the header."""
    if given is None:
        return stated.age_months, stated.age_source
    if stated.age_months is None or abs(stated.age_months - given) < 1:
        return given, "as given"
    return given, f"as given; {stated.age_source} has {stated.age_months:.1f}"


def _sd_score(months: float, chronological: float | None, male: bool | None) -> float | None:
    if chronological is None or male is None or not np.isfinite(months):
        return None
    try:
        return sd_score.sd_score(months, chronological, male)
    except ValueError:  # the reference has no children of that age
        return None


def _origins(networks: Sequence[LoadedRun]) -> tuple[str, ...]:
    """Where networks lie and which steps of their trainings they are, one line a run or bundle."""
    found: dict[str, list[str]] = {}
    for loaded in networks:
        shipped = loaded.folder in map(resources.shipped_bundle, resources.shipped_bundles())
        place = f"the shipped bundle {loaded.folder.stem}" if shipped else assess_text.legible(str(loaded.folder))
        found.setdefault(place, []).append(loaded.chosen)
    return tuple(f"{place}: {'; '.join(dict.fromkeys(chosen))}" for place, chosen in found.items())
