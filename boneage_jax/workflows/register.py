"""What `boneage register` and `boneage predict` do: open runs and data, go the chain, show what came out."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

from boneage_jax.canvas import Canvas
from boneage_jax.data.sources import Dataset
from boneage_jax.data.tree import Tree
from boneage_jax.errors import EXIT_PARTIAL, UserError
from boneage_jax.files import check_writable
from boneage_jax.hand.pipeline import HandPipeline, Settings
from boneage_jax.hand.quality import Thresholds
from boneage_jax.hand.regions import named, split_names
from boneage_jax.runs import bundle
from boneage_jax.workflows import assess, assess_page, calibrate, derive, radiographs, sheets
from boneage_jax.workflows.assess import Assessment, Assessor, AssessRequest
from boneage_jax.workflows.derive import Derived
from boneage_jax.workflows.radiographs import Radiograph


@dataclasses.dataclass(frozen=True)
class RegisterRequest:
    """What to register, with what, to where.

    Attributes:
      dataset: built dataset of radiographs.
      data: folder of built datasets.
      segmentation: folder of a run.
      landmarks: folder of a run.
      out: folder that the new dataset goes to.
      name: of the new dataset; empty for the source's.
      splits: to register; empty for all.
      regions: see `regions.named`, separated by commas.
      batch_size: images that the networks see at once.
      threads: between the networks.
      canvas: that hands are laid on.
      views: see `chain.Settings`: more are steadier, and slower.
      fine_stage: whether they look twice, the second time at what the first look found.
      drop_flagged: leave images with flags out.
      annotations: folder for predictions as annotations; None for none.
      thresholds: file of `boneage calibrate`; None for the default quality thresholds.
    """

    dataset: str
    data: pathlib.Path
    segmentation: pathlib.Path
    landmarks: pathlib.Path
    out: pathlib.Path
    name: str = ""
    splits: tuple[str, ...] = ()
    regions: str = "whole,A,B,C"
    batch_size: int = 16
    threads: int = 4
    canvas: Canvas = Canvas()
    views: int = 6
    fine_stage: bool = True
    drop_flagged: bool = False
    annotations: pathlib.Path | None = None
    thresholds: pathlib.Path | None = None


def derived_of(request: RegisterRequest) -> Derived:
    """Registers a dataset and writes its page.

    Raises:
      UserError: for runs, datasets, splits and regions that cannot be used, and disks that cannot be written.
    """
    regions = tuple(named(split_names(request.regions), request.canvas))
    source = Dataset.open(request.data, request.dataset)
    segmentation = bundle.load(request.segmentation, "segmentation")
    landmarks = bundle.load(request.landmarks, "landmarks")
    about = calibrate.networks(segmentation, landmarks)
    thresholds = Thresholds()
    if request.thresholds:
        thresholds = calibrate.read(request.thresholds).for_networks(about, request.thresholds)
    settings = Settings(
        regions,
        request.canvas,
        thresholds,
        views=request.views,
        fine_stage=request.fine_stage,
        batch_size=request.batch_size,
        threads=request.threads,
    )
    with HandPipeline(segmentation, landmarks, settings) as chain:
        derived = derive.derive(
            source,
            chain,
            about,
            request.out,
            name=request.name,
            splits=request.splits,
            drop_flagged=request.drop_flagged,
        )
    sheets.write_page(source, derived)
    return derived


def register(request: RegisterRequest) -> str:
    """Does what `derived_of` does; returns what came out, for people."""
    derived = derived_of(request)
    place, name = derived.dataset.path, derived.dataset.name
    lines = [
        sheets.as_text(derived),
        f"page      {place / sheets.PAGE}",
        f"flags     {place / derive.FLAGS}",
        f"dataset   {name} in {request.out}; train with --config.data.name={name}",
    ]
    if request.annotations:
        sheets.write_annotations(derived, request.annotations)
        lines.append(f"masks and key points to correct   {request.annotations}")
    return "\n".join(lines)


def predict(request: AssessRequest, out: pathlib.Path | None, page: pathlib.Path | None) -> tuple[str, int]:
    """Reads ages, writes a table and a page where they are wanted.

    Returns:
      What came out, for people, and the exit status: 0, or `EXIT_PARTIAL` where some radiographs could not be used.

    Raises:
      UserError: see `assess.Assessor`; for a table or page that cannot be written where they are wanted; and where no
        radiograph at all could be used. Nothing is written then.
    """
    assessments: list[Assessment] = []
    drawn = assess_page.Drawn()
    with Assessor(request) as assessor, Tree() as tree:
        found = radiographs.found(tree, request.paths)
        _check_destinations(request, found, {"--out": out, "--page": page})
        for assessment, seen in assessor.assess(found):
            assessments.append(assessment)
            if page:
                drawn.add(assessment, seen)
    failed = sum(bool(a.problem) for a in assessments)
    if failed == len(assessments):
        raise UserError(f"no radiograph could be used, nothing was written:\n{assess.problems_listed(assessments)}")
    if out:
        assess.write_csv(assessments, out)
    if page:
        assess_page.write(assessments, drawn, page, phantoms_only=assessor.phantoms_only, networks=assessor.networks)
    text = assess.as_text(assessments, out, page, phantoms_only=assessor.phantoms_only, networks=assessor.networks)
    return text, EXIT_PARTIAL if failed else 0


def _check_destinations(
    request: AssessRequest, found: Sequence[Radiograph], wanted: dict[str, pathlib.Path | None]
) -> None:
    """Raises `UserError` for files that cannot be written, or that would take the place of something that is read."""
    taken = {pathlib.Path(one.ref.path).resolve(): "one of the radiographs" for one in found if one.ref}
    for source in (*request.paths, request.sex_csv, request.bundle, request.thresholds):
        if source and source.is_file():
            taken[source.resolve()] = "one of the files to read"
    for option, path in wanted.items():
        if path is None:
            continue
        name = assess.legible(str(path))
        if path.is_dir():
            raise UserError(f"{option} {name}: this is a folder, expected the name of a file to write")
        if what := taken.get(path.resolve()):
            raise UserError(f"{option} {name}: this is {what}, expected the name of another file to write")
        taken[path.resolve()] = f"the file of {option} too"
        check_writable(path.absolute().parent)
