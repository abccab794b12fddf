"""Options of `boneage data build`, `data info`, `annotations convert`, `mine`, `calibrate`, `register`, `assess`,
`stress`, `bundle`, `export` and `demo`.

They stand apart from the workflows, which load JAX: a command's help needs only what is here.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
from typing import Any, get_args

from boneage_jax import resources
from boneage_jax.config import ExperimentConfig
from boneage_jax.data.choices import Encoding, Missing
from boneage_jax.network_ref import NetworkRef
from boneage_jax.options import names, option, size
from boneage_jax.region_spec import RegionSpec, parse_regions
from boneage_jax.workflows.choices import CalibrationMethod, ReportKind
from boneage_jax.workflows.sexes import SexConflict

VIEWS = (1, 2, 6)
"""Numbers of views that a network may take of a hand: see `pipeline.Settings` and `augment.TEST_TIME`."""

MOST_VIEWS = VIEWS[-1]
"""Views where neither the user nor the quality thresholds say how many."""

SHARE = 0.04
"""Share of ordinary hands that measures of the networks' predictions may flag; those of the image flag some more."""

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
"""Kinds of devices that JAX lowers programs for: see `jax.export.Exported.platforms`."""

_CANVAS = "HEIGHT,WIDTH,TIP_X,TIP_Y,CAPITATE_X,CAPITATE_Y"

_OWN_THRESHOLDS = "the bundle's, where both networks come from one"

CanvasNumbers = tuple[float, float, float, float, float, float]
"""What `Canvas.of` takes: height and width, and where middle fingertip and capitate go, in pixels."""


def _network(
    default: Any = dataclasses.MISSING, help: str = "run of that task, a bundle, or shipped", **how: Any
) -> Any:
    """Returns a field for a network, which may also be given as a path."""
    return option(default, help, parse=NetworkRef.parse, **how)


def _reports(text: str) -> tuple[ReportKind, ...]:
    """Reads kinds of reports with commas between. Raises `ValueError` for others."""
    found, known = names(text), get_args(ReportKind)
    if not found or set(found) - set(known):
        raise ValueError(f"some of {', '.join(known)}, with commas between")
    return tuple(kind for kind in known if kind in found)


def _finder() -> Any:
    """Returns a field for a network that finds hands, the bundle's where none is named."""
    return _network(None, "run of that task, a bundle, or shipped", default_text="the bundle's")


def _bundle() -> Any:
    """Returns a field for a bundle's file."""
    return option(
        None,
        f"file of boneage bundle, or a shipped one by its name: {', '.join(resources.shipped_bundles())}",
        metavar="FILE|NAME",
        parse=resources.bundle_file,
        default_text=resources.DEFAULT_BUNDLE,
    )


def _data() -> Any:
    """Returns a field for the folder of built datasets."""
    return option(pathlib.Path("data"), "folder of built datasets")


def _views(help: str) -> Any:
    """Returns a field for the number of views, that of the quality thresholds where none is given."""
    return option(
        None,
        help,
        choices=VIEWS,
        default_text=f"those that the quality thresholds were chosen with, else {MOST_VIEWS}",
    )


def _canvas(text: str) -> CanvasNumbers:
    """Reads a canvas's six numbers. Raises `ValueError` for other texts."""
    parts = text.split(",")
    if len(parts) != 6 or not all(re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", part.strip()) for part in parts):
        raise ValueError(_CANVAS)
    height, width, tip_x, tip_y, capitate_x, capitate_y = map(float, parts)
    return height, width, tip_x, tip_y, capitate_x, capitate_y


def _batch_size(text: str) -> int | None:
    """Reads a number of images, None for any. Raises `ValueError` for other texts."""
    if text == "symbolic":
        return None
    if not re.fullmatch("[1-9][0-9]*", text):
        raise ValueError("a whole number above 0, or symbolic for any")
    return int(text)


def _platforms(text: str) -> tuple[str, ...]:
    """Reads platforms with commas between, each once. Raises `ValueError` for other texts."""
    found = tuple(dict.fromkeys(names(text)))
    if not found or not set(found) <= set(PLATFORMS):
        raise ValueError(f"one or more of {', '.join(PLATFORMS)}, with commas between")
    return found


def _counts(text: str) -> dict[str, int]:
    """Reads the sizes of three splits. Raises `ValueError` for other texts."""
    parts = text.split(",")
    if len(parts) != 3 or not all(re.fullmatch("[0-9]+", part) for part in parts):
        raise ValueError("TRAIN,VALIDATION,TEST, as in 400,50,50")
    return dict(zip(("train", "validation", "test"), map(int, parts), strict=True))


def _renames(text: str) -> dict[str, str]:
    """Reads NEW=OLD with commas between. Raises `ValueError` for other texts."""
    pairs = [part.split("=") for part in text.split(",")]
    if not all(len(pair) == 2 for pair in pairs):
        raise ValueError("NEW=OLD,..., as in capitate=17")
    return {new.strip(): old.strip() for new, old in pairs}


@dataclasses.dataclass(frozen=True)
class BuildRequest:
    """Dataset to build, and its source."""

    dataset: str = option(
        help="hand_phantom/tiny|small|registered|raw_tiny|raw|full, rsna_bone_age[/small]", positional=True
    )
    _: dataclasses.KW_ONLY
    out: pathlib.Path = option(pathlib.Path("data"), "folder of all built datasets")
    source: pathlib.Path | None = option(
        None,
        "folder or zip of the RSNA download: zips, folders, or images with a CSV",
        flag="--from",
        metavar="SOURCE",
    )
    workers: int | None = option(
        None, "processes; their number does not change the result", low=1, default_text="all processors"
    )
    missing: Missing = option("error", "what to do with rows without an image and images without a row")
    validation: float | None = option(
        None,
        "share of training images that become the validation split where the data name none",
        metavar="SHARE",
        default_text="0.08; 0 for none",
    )
    size: tuple[int, int] | None = option(None, "fit images into HEIGHTxWIDTH pixels, as in 500x375", parse=size)
    encoding: Encoding = option("png", "how --size images are stored; jpeg and raw are cheaper to decode")
    quality: int = option(95, "JPEG quality", low=1)
    counts: dict[str, int] | None = option(
        None, "phantoms as TRAIN,VALIDATION,TEST in place of the config's", parse=_counts
    )


@dataclasses.dataclass(frozen=True)
class DescribeRequest:
    """Which built dataset is described."""

    dataset: str = option(help="as in hand_phantom/tiny", positional=True)
    _: dataclasses.KW_ONLY
    out: pathlib.Path = option(pathlib.Path("data"), "folder of all built datasets")
    json: bool = option(False, "print JSON")


@dataclasses.dataclass(frozen=True)
class ConvertRequest:
    """Annotations to convert, and where they go."""

    source: pathlib.Path = option(help="file or folder; the format is told from the content", positional=True)
    out: pathlib.Path = option(help="COCO .json, or a folder for masks")
    _: dataclasses.KW_ONLY
    images: pathlib.Path | None = option(None, "folder of the images, where the format keeps no sizes")
    rename: dict[str, str] | None = option(None, "NEW=OLD,... for names of points", parse=_renames)


@dataclasses.dataclass(frozen=True)
class MiningRequest:
    """What to mine.

    Attributes:
      config: of the segmentation; its data name dataset and training split.
      growth: a round that adds less than this part of what was accepted is the last.
    """

    config: ExperimentConfig
    folder: pathlib.Path = option(help="folder for everything", flag="--out")
    _: dataclasses.KW_ONLY
    masks: pathlib.Path | None = option(None, "labelled images: masks by id, or any annotation file")
    labelled: int = option(
        100, "without --masks: number of images, by id, whose own masks are given; for phantoms", low=1
    )
    rounds: int = option(6, "most rounds", low=1)
    accept: float = option(0.90, "lowest score accepted, 0 to 1")
    pool: int = option(
        0, "most images without masks that are mined, drawn by their ids; for large datasets", low=0, default_text="all"
    )
    correct: int = option(
        0, "in place of a person: number of the worst masks replaced by the images' own after each round", low=0
    )
    growth: float = 0.02
    measure: str = option("", "split with true masks to measure each round on; for phantoms")
    reference: bool = option(False, "train on all masks too, to compare with")


@dataclasses.dataclass(frozen=True)
class CalibrateRequest:
    """Networks that thresholds are chosen for, and the hands that they are chosen on."""

    dataset: str = option(help="built dataset of radiographs, as in hand_phantom/raw", positional=True)
    segmentation: NetworkRef | pathlib.Path = _network()
    landmarks: NetworkRef | pathlib.Path = _network()
    out: pathlib.Path = option(help="file to write")
    _: dataclasses.KW_ONLY
    data: pathlib.Path = _data()
    split: str = option("validation", "split of ordinary hands that neither network was trained on, in TFDS's notation")
    share: float = option(SHARE, "share of these that the thresholds may flag, above 0 and below 0.5")
    views: int = option(6, "views per network, as the pipeline will be used", choices=VIEWS)
    fine_stage: bool = option(True, "use the coarse stage alone, as the pipeline will be used", negated="--coarse-only")
    method: CalibrationMethod = option(
        "quantile",
        "quantile: flag a share of ordinary hands; failures: catch most failures, of data with true masks and points",
    )
    varied: bool = option(
        False,
        "quantile: take each hand once more with a change of exposure or sharpness, as boneage stress makes them, so "
        "that flags mean the same on radiographs of other sources",
    )


@dataclasses.dataclass(frozen=True)
class LabelledRequest:
    """Labelled radiographs, and the bundle whose ages are fitted to them, or given intervals by them."""

    table: pathlib.Path = option(
        help="CSV or spreadsheet: file, male (or sex), boneage in months", positional=True, metavar="TABLE"
    )
    _: dataclasses.KW_ONLY
    images: pathlib.Path | None = option(None, "folder or zip of the radiographs", default_text="the table's folder")
    bundle: pathlib.Path | None = _bundle()
    out: pathlib.Path | None = option(None, "file for the calibration, which boneage assess takes")
    into: pathlib.Path | None = option(None, "file for a bundle that holds it, to use with predict --bundle")
    views: int | None = _views("views of each hand per network, as in boneage assess")
    batch_size: int = option(16, "radiographs at once", low=1)


@dataclasses.dataclass(frozen=True)
class RegisterRequest:
    """Hands to register, networks that find them, and where the dataset goes."""

    dataset: str = option(help="built dataset of radiographs, as in hand_phantom/raw", positional=True)
    segmentation: NetworkRef | pathlib.Path = _network()
    landmarks: NetworkRef | pathlib.Path = _network()
    _: dataclasses.KW_ONLY
    data: pathlib.Path = _data()
    out: pathlib.Path | None = option(None, "folder the new dataset goes to", default_text="the one of --data")
    name: str = option("", "name of the new dataset, registered_hands/NAME", default_text="the source's")
    splits: tuple[str, ...] = option((), "splits to register, as in train,test", default_text="all")
    regions: tuple[RegionSpec, ...] = option(
        parse_regions("whole,A,B,C"),
        "regions to cut, separated by commas: whole, A, B, C, any @HEIGHTxWIDTH, or "
        "NAME=ROW0:ROW1,COL0:COL1@HEIGHTxWIDTH",
        parse=parse_regions,
    )
    canvas: CanvasNumbers | None = option(
        None,
        "canvas in pixels, and where middle fingertip and capitate go",
        metavar=_CANVAS,
        parse=_canvas,
        default_text="the bundle's, else the paper's, 2080,1600,800,100,800,1600",
    )
    views: int = option(
        6,
        "views per network in its last stage: 1, 2 (mirrored) or 6 (turned too); more are steadier, and slower",
        choices=VIEWS,
    )
    thresholds: pathlib.Path | None = option(
        None, "quality thresholds, as boneage calibrate quality writes them", default_text=_OWN_THRESHOLDS
    )
    fine_stage: bool = option(True, "use the coarse stage alone: half the time, less exact", negated="--coarse-only")
    batch_size: int = option(16, "images the networks see at once", low=1)
    threads: int = option(4, "threads for the work between the networks", low=1)
    drop_flagged: bool = option(False, "leave images with flags out of the dataset")
    annotations: pathlib.Path | None = option(None, "folder for coco.json and masks/, to be corrected")


@dataclasses.dataclass(frozen=True)
class AssessRequest:
    """Radiographs to read, and the networks that read them."""

    paths: tuple[pathlib.Path, ...] = option(
        help="radiographs, or folders, zips or DICOMDIRs of them", positional=True, metavar="IMAGE|FOLDER|ZIP"
    )
    runs: tuple[NetworkRef | pathlib.Path, ...] = _network(
        (),
        "folder of an age network's run, or FILE:MEMBER of a bundle, as in shipped:age0; repeatable, for their mean",
        flag="--run",
        repeat=True,
        default_text="the bundle's",
    )
    _: dataclasses.KW_ONLY
    segmentation: NetworkRef | pathlib.Path | None = _finder()
    landmarks: NetworkRef | pathlib.Path | None = _finder()
    thresholds: pathlib.Path | None = option(
        None,
        "quality thresholds for these two networks, as boneage calibrate quality writes them",
        default_text=_OWN_THRESHOLDS,
    )
    bundle: pathlib.Path | None = _bundle()
    age_calibration: pathlib.Path | None = option(
        None, "file of boneage calibrate ages", default_text="the bundle's, where it holds one"
    )
    intervals: pathlib.Path | None = option(
        None, "file of boneage calibrate intervals", default_text="the bundle's, where it holds them"
    )
    as_is: bool = option(False, "the images show registered hands on the whole canvas")
    force: bool = option(False, "give an age even where quality flags say that no whole hand was found")
    sex: str = option("", "sex of all children: M or F", default_text="each DICOM file's PatientSex")
    sex_csv: pathlib.Path | None = option(None, "CSV with the columns file,male")
    chronological_age: float | None = option(
        None,
        "age since birth of all children, for the SD score",
        low=0.0,
        high=1560.0,
        unit="months",
        default_text="each DICOM file's dates, else its PatientAge",
    )
    sex_conflict: SexConflict = option(
        "error",
        "which sex counts where --sex or --sex-csv contradict a PatientSex",
        default_text="error, and such a file gets no age",
    )
    step: int | None = option(None, "checkpoint of --run", low=1, default_text="the best by evaluation MAE")
    views: int | None = _views("views of each hand per network: 1, 2 (mirrored) or 6 (turned too)")
    batch_size: int = option(16, "radiographs at once", low=1)
    reports: tuple[ReportKind, ...] = option(
        (),
        "reports to write into --out: sr (DICOM structured report), sc (DICOM secondary capture), fhir; those of DICOM "
        "need the extra clinic, and name the patient",
        parse=_reports,
        default_text="none",
    )
    attribution: bool = option(False, "show which bones the age rests on; takes longer")
    keep_identifiers: bool = option(
        False, "show what identifies a patient: DICOM names, ids, dates, descriptions, and text in the picture"
    )


@dataclasses.dataclass(frozen=True)
class StressRequest:
    """Hands whose radiographs are changed, and the networks that read them."""

    dataset: str = option(help="built dataset of radiographs with bone ages, as in hand_phantom/raw", positional=True)
    out: pathlib.Path = option(help="folder for ages, JSON and page")
    _: dataclasses.KW_ONLY
    data: pathlib.Path = _data()
    split: str = option("validation", "split, whole: --images says how much of it is read")
    images: int = option(200, "number of its hands, the first ones", low=1)
    only: tuple[str, ...] = option(
        (),
        "changes, by name or kind, as in exposure or 'JPEG*'; repeatable",
        repeat=True,
        parse=str,
        default_text="all",
    )
    runs: tuple[NetworkRef | pathlib.Path, ...] = _network(
        (),
        "folder of an age network's run, or FILE:MEMBER of a bundle; repeatable, for their mean",
        flag="--run",
        repeat=True,
        default_text="the bundle's",
    )
    bundle: pathlib.Path | None = _bundle()
    segmentation: NetworkRef | pathlib.Path | None = _finder()
    landmarks: NetworkRef | pathlib.Path | None = _finder()
    thresholds: pathlib.Path | None = option(
        None, "quality thresholds, as boneage calibrate quality writes them", default_text=_OWN_THRESHOLDS
    )
    views: int = option(2, "views of each hand per network: 1, 2 (mirrored) or 6 (turned too)", choices=VIEWS)
    batch_size: int = option(16, "radiographs at once", low=1)


@dataclasses.dataclass(frozen=True)
class BundleRequest:
    """What goes into a bundle."""

    segmentation: NetworkRef | pathlib.Path = _network()
    landmarks: NetworkRef | pathlib.Path = _network()
    ages: tuple[NetworkRef | pathlib.Path, ...] = _network(
        help="folder of an age network's run; repeatable", flag="--run", repeat=True
    )
    out: pathlib.Path = option(help="file to write")
    _: dataclasses.KW_ONLY
    weights: bool = option(False, "weigh age networks by how well they do on --split, in place of the mean")
    debias: bool = option(False, "correct the linear bias of their blended age, fitted on --split")
    stretch: bool = option(
        False,
        "stretch the blended age to the spread of the readings of --split: less bias of the youngest and the oldest, a "
        "slightly larger error",
    )
    bits: int | None = option(
        None,
        "bits of a weight of the age networks; 8 halves them, and changes ages by about 0.1 month",
        choices=(8, 16),
        default_text="as they come: 16 from a run's folder",
    )
    thresholds: pathlib.Path | None = option(
        None,
        "quality thresholds for its hands, as boneage calibrate quality writes them",
        default_text="those of the bundle that both networks come from",
    )
    terms: str = option(
        "",
        "terms of the images that it has learnt from: shown with every age, and kept by bundles made of its networks",
        default_text="those of the bundles that its networks come from",
    )
    split: str = option("validation", "split of the first run's dataset that --weights and --debias are fitted on")
    data: pathlib.Path | None = option(None, "folder of built datasets", default_text="the first run's")


@dataclasses.dataclass(frozen=True)
class ExportRequest:
    """A network to write so that it runs without this package, and where it goes."""

    network: NetworkRef | pathlib.Path = _network(
        help="run's folder, FILE:MEMBER of a bundle, or NAME:MEMBER of a shipped one, as in rsna:age0", positional=True
    )
    out: pathlib.Path = option(help="folder to write")
    _: dataclasses.KW_ONLY
    batch_size: int | None = option(
        None,
        "images at once: a number, or symbolic for any",
        metavar="N|symbolic",
        parse=_batch_size,
        default_text="symbolic",
    )
    platforms: tuple[str, ...] = option(
        ("cpu",), f"devices that it will run on, of {', '.join(PLATFORMS)}, separated by commas", parse=_platforms
    )
    onnx: bool = option(False, "write network.onnx too; needs the extra onnx")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DemoRequest:
    """Where the demonstration goes, and how long it may take."""

    out: pathlib.Path = option(pathlib.Path("boneage_demo"), "folder for everything")
    train_all: bool = option(
        False, "train all three networks from random weights, in place of starting from the shipped bundle"
    )
    quick: bool = option(False, "few phantoms and steps: shows that all runs, learns nothing")
    workers: int | None = option(None, "processes that render", low=1, default_text="all processors")
