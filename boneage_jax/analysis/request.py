"""Options of `boneage evaluate`, `boneage compare` and `boneage pool-folds`."""

from __future__ import annotations

import dataclasses
import pathlib

from boneage_jax.network_ref import NetworkRef
from boneage_jax.options import option


@dataclasses.dataclass(frozen=True)
class EvaluateRequest:
    """Which run is scored, on which images."""

    run: pathlib.Path = option(help="folder of the run", positional=True)
    _: dataclasses.KW_ONLY
    split: str = option("test", "split, in TFDS's notation")
    data: pathlib.Path | None = option(None, "folder of built datasets", default_text="the one trained from")
    dataset: str = option("", "dataset", default_text="the one trained on")
    step: int | None = option(None, "checkpoint", low=1, default_text="the best by evaluation MAE")
    test_time: bool = option(False, "average over slightly turned and zoomed images; for ages")
    out: pathlib.Path | None = option(
        None, "folder for table, JSON, CSV and page", default_text="evaluation/ in the run's"
    )
    report: bool = option(False, "write report.html beside the scores too")
    by: tuple[str, ...] = option(
        (),
        "errors by a column of --table, or by sex, stage or age, which need none; repeatable",
        metavar="COLUMN",
        repeat=True,
        parse=str,
    )
    table: pathlib.Path | None = option(None, "CSV or spreadsheet with a column of image ids, for --by", metavar="FILE")


@dataclasses.dataclass(frozen=True)
class CompareRequest:
    """Which runs are compared, on which images.

    A run of the children of one sex is compared on these alone. Each run reads the images as it was trained to.
    """

    runs: tuple[NetworkRef | pathlib.Path, ...] = option(
        help="folders of two or more runs of bone age, or FILE:MEMBER of a bundle, as in shipped:age0",
        positional=True,
        metavar="RUN",
        parse=NetworkRef.parse,
    )
    out: pathlib.Path = option(pathlib.Path("comparison"), "folder for tables, JSON, predictions and page")
    _: dataclasses.KW_ONLY
    split: str = option("test", "split that all are compared on, in TFDS's notation")
    data: pathlib.Path | None = option(None, "folder of built datasets", default_text="the one trained from")
    dataset: str = option("", "dataset", default_text="the one that the first run was trained on")
    test_time: bool = option(False, "average over slightly turned and zoomed images")
    with_first: bool = option(False, "compare each run with the first alone, not every two of them")


@dataclasses.dataclass(frozen=True)
class PoolFoldsRequest:
    """Which runs of a cross-validation are scored together: one for each fold."""

    runs: tuple[pathlib.Path, ...] = option(
        help="folders of the runs, one for each fold, in any order", positional=True, metavar="RUN"
    )
    out: pathlib.Path = option(pathlib.Path("pooled_folds"), "folder for scores, predictions and page")
    _: dataclasses.KW_ONLY
    data: pathlib.Path | None = option(None, "folder of built datasets", default_text="the one trained from")
    test_time: bool = option(False, "average over slightly turned and zoomed images")
