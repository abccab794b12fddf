"""Trained networks from radiograph to bone age, as the Python API offers them."""

from __future__ import annotations

import contextlib
import itertools
import os
import pathlib
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from boneage_jax import NOT_A_MEDICAL_DEVICE
from boneage_jax.api.datasets import Example
from boneage_jax.api.hands import RegisteredHand
from boneage_jax.api.phantoms import PhantomRadiograph
from boneage_jax.api.predictions import Prediction
from boneage_jax.data.images import Grey
from boneage_jax.data.labels import parse_sex
from boneage_jax.data.tree import Tree
from boneage_jax.errors import UserError, printable
from boneage_jax.hand.pipeline import Registered
from boneage_jax.network_ref import NetworkRef
from boneage_jax.workflows import assess_text, radiographs
from boneage_jax.workflows.assess import Assessor
from boneage_jax.workflows.radiographs import Radiograph
from boneage_jax.workflows.requests import AssessRequest
from boneage_jax.workflows.sexes import SexConflict

if TYPE_CHECKING:
    import pydicom

    Image: TypeAlias = str | os.PathLike[str] | np.ndarray | Example | PhantomRadiograph | pydicom.Dataset
else:  # pydicom is an extra
    Image = Any
"""What a radiograph may be: a file, an array, a DICOM dataset, an example of a dataset, a phantom."""

Network: TypeAlias = NetworkRef | str | os.PathLike[str]
"""A run's folder, or `FILE:MEMBER` of a bundle, as in `shipped:age0`."""

_BATCHES_AHEAD = 4
"""Batches of radiographs taken from an iterable at a time, so that reading goes on while networks predict; chosen by
eye."""


def load(
    networks: Network | Sequence[Network] | None = None,
    *,
    segmentation: Network | None = None,
    landmarks: Network | None = None,
    thresholds: str | os.PathLike[str] | None = None,
    step: int | None = None,
    as_is: bool = False,
    force: bool = False,
    sex_conflict: SexConflict = "error",
    views: Literal[1, 2, 6] | None = None,
    batch_size: int = 16,
) -> BoneAgeModel:
    """Opens trained networks from radiograph to bone age.

    Args:
      networks: of bone age: None for those of the bundle that is used where none is named; the file of a bundle, which
        holds all networks, or the name of a shipped one; or one or several runs (folders, or `FILE:MEMBER` of bundles),
        whose ages are averaged.
      segmentation: run of that task, or a bundle; None for the bundle's.
      landmarks: likewise.
      thresholds: file of `boneage calibrate quality`: quality thresholds chosen for these two; None for the bundle's.
      step: checkpoint of a single run; None for the best by its evaluation.
      as_is: whether images show registered hands on the whole canvas, so that no hand is looked for.
      force: whether an age is given even where quality flags say that no whole hand was found.
      sex_conflict: what counts where the given sex contradicts the PatientSex of a DICOM file: `error`, the radiograph
        is refused; `keep-given`; `use-dicom`.
      views: that every network takes of a hand: 1, 2 with the mirror image, 6 with turned ones too; None for those that
        the quality thresholds were chosen with, else 6.
      batch_size: most radiographs that the networks take at once. One radiograph makes a batch of 1, up to four a batch
        of 4, more a whole one. With another size of batch, or place in a batch, ages seldom differ by 0.001 months.

    Raises:
      UserError: for networks that cannot be used.
    """
    if networks is None:
        refs: list[NetworkRef] = []
    elif isinstance(networks, str | os.PathLike | NetworkRef):
        refs = [NetworkRef.of(networks)]
    else:
        refs = [NetworkRef.of(network) for network in networks]
    bundles = [ref for ref in refs if not ref.member and (ref.path is None or ref.place.is_file())]
    if bundles and len(refs) > 1:
        raise UserError(f"{bundles[0]}: a bundle among several networks, expected runs or FILE:MEMBER of bundles")
    request = AssessRequest(
        (),
        () if bundles else tuple(refs),
        segmentation=None if segmentation is None else NetworkRef.of(segmentation),
        landmarks=None if landmarks is None else NetworkRef.of(landmarks),
        thresholds=None if thresholds is None else pathlib.Path(thresholds),
        bundle=bundles[0].place if bundles else None,
        as_is=as_is,
        force=force,
        sex_conflict=sex_conflict,
        step=step,
        views=views,
        batch_size=batch_size,
    )
    return BoneAgeModel(request)


class BoneAgeModel:
    """Networks from radiograph to bone age; `load` opens them. Compiled when they are first used.

    Attributes:
      networks: where each network comes from, and which step of its training it is.
      needs_sex: whether the child's sex must be given.
      phantoms_only: whether one of the age networks was trained on phantoms only.
      notice: what its ages may not be used for.
    """

    def __init__(self, request: AssessRequest):
        """Opens the networks.

        Args:
          request: which, and how they are used; its paths and sexes are not.

        Raises:
          UserError: for networks that cannot be used.
        """
        self._assessor = Assessor(request)
        self._batch_size = request.batch_size
        self.networks = self._assessor.networks
        self.needs_sex = self._assessor.needs_sex
        self.phantoms_only = self._assessor.phantoms_only
        self.notice = " ".join([*self._assessor.remarks, NOT_A_MEDICAL_DEVICE])

    def predict(self, image: Image, *, sex: str | None = None) -> Prediction:
        """Predicts the bone age of one radiograph.

        Args:
          image: path of a PNG, JPEG, TIFF or DICOM file; an array, or an image of Pillow, of shape (h, w), (h, w, 3)
            RGB or (h, w, 4) RGBA, of which 8 bits are taken as they are and all other numbers stretched to the whole
            range of grey; a `pydicom.Dataset`; an `Example` or a `PhantomRadiograph`.
          sex: of the child, as in `M` or `F`; None for that of the DICOM dataset, example or phantom.

        Raises:
          UserError: for a radiograph that cannot be used, and a sex that the networks need and that is not known.
        """
        predictions = list(itertools.islice(self.predict_many([image], sex=sex), 2))
        if len(predictions) != 1:
            raise UserError(f"{image}: holds several radiographs, expected one; use predict_many")
        return predictions[0]

    def predict_many(
        self,
        images: Iterable[Image],
        *,
        sex: str | Iterable[str | None] | None = None,
        unusable: Literal["raise", "warn"] = "raise",
    ) -> Iterator[Prediction]:
        """Yields the bone ages of radiographs in order, a batch at a time; memory does not grow with their number.

        Args:
          images: each as `predict` takes it; a folder, zip or DICOMDIR stands for all radiographs in it.
          sex: of all children, or of each image in order; see `predict`.
          unusable: what a radiograph that cannot be used does: raise a `UserError`, or warn and be left out.

        Raises:
          UserError: see `predict`.
        """
        with Tree() as tree:
            pairs = self._radiographs(tree, images, sex)
            while chunk := list(itertools.islice(pairs, _BATCHES_AHEAD * self._batch_size)):
                found, males = zip(*chunk, strict=True)
                for assessment, seen in self._assessor.assess(found, males, progress=False):
                    if seen is not None:
                        name = assess_text.legible(assessment.file)
                        hand = self._hand(name, seen.image, seen.hand, assessment.turned) if seen.hand else None
                        yield Prediction.of(assessment, seen, hand, self.notice)
                        continue
                    message = f"{assess_text.legible(assessment.file)}: {assessment.problem}"
                    if unusable == "raise":
                        raise UserError(message)
                    warnings.warn(message, stacklevel=2)

    def register(self, image: Image) -> RegisteredHand:
        """Finds the hand in one radiograph and lays it on the common canvas, without an age.

        A radiograph that stands on its head or lies on its side is turned first; see `RegisteredHand.turned`.

        Args:
          image: as `predict` takes it.

        Raises:
          UserError: for a radiograph that cannot be used.
        """
        with Tree() as tree:
            found = _found(tree, image, 0)
            if len(found) != 1:
                raise UserError(f"{image}: holds {len(found)} radiographs, expected one")
            read = radiographs.read(found[0])
        name = assess_text.legible(found[0].name)
        if read.image is None:
            raise UserError(f"{name}: {read.problem}")
        (one,) = self._assessor.register([read.image])
        return self._hand(name, one.image, one.hand, one.turned)

    def close(self) -> None:
        """Ends the threads; further calls fail."""
        self._assessor.close()

    def __enter__(self) -> BoneAgeModel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"BoneAgeModel({'; '.join(self.networks)}). {self.notice}"

    def _hand(self, name: str, image: Grey, found: Registered, turned: int) -> RegisteredHand:
        return RegisteredHand.of(name, image, found, self._assessor.ensemble.canvas, turned=turned)

    def _radiographs(
        self, tree: Tree, images: Iterable[Image], sex: str | Iterable[str | None] | None
    ) -> Iterator[tuple[Radiograph, bool | None]]:
        """Every radiograph with whether its child is a boy, None where that is not given."""
        sexes = itertools.repeat(sex) if sex is None or isinstance(sex, str) else iter(sex)
        for number, image in enumerate(images):
            try:
                given = next(sexes)
            except StopIteration:
                raise UserError(f"sex: found {number} sexes, expected one for each image") from None
            male = _male(given, image)
            for radiograph in _found(tree, image, number):
                if male is None and self.needs_sex and radiograph.readable and not radiograph.states_sex:
                    name = printable(radiograph.name)
                    raise UserError(f"{name}: the networks need the child's sex; give it as sex='M' or sex='F'")
                yield radiograph, male
        if not (sex is None or isinstance(sex, str)):
            with contextlib.suppress(StopIteration):
                next(sexes)
                raise UserError("sex: found more sexes than images, expected one for each image")


def _male(sex: str | None, image: Image) -> bool | None:
    if sex is None:
        sex = image.sex if isinstance(image, Example | PhantomRadiograph) else None
    try:
        return None if not sex else parse_sex(sex)
    except (ValueError, AttributeError) as error:
        raise UserError(f"sex: found {sex!r}, expected M or F") from error


def _found(tree: Tree, image: Image, number: int) -> list[Radiograph]:
    """The radiographs that an image stands for."""
    name = f"image {number}"
    if isinstance(image, str | os.PathLike):
        return radiographs.found(tree, [pathlib.Path(image)])
    if isinstance(image, Example):
        return [radiographs.of_array(image.image, image.id)]
    if isinstance(image, PhantomRadiograph):
        return [radiographs.of_array(image.image, str(image.name))]
    pydicom = sys.modules.get("pydicom")  # whoever holds a dataset has imported it
    if pydicom is not None and isinstance(image, pydicom.Dataset):
        return [radiographs.of_dicom(image, name)]
    if hasattr(image, "__array__") or hasattr(image, "__array_interface__"):  # the latter of Pillow
        return [radiographs.of_array(np.asarray(image), name)]
    raise UserError(
        f"{name}: found {type(image).__name__}, expected a path, an array, a pydicom.Dataset, an example or a phantom"
    )
