"""Commands about several trained runs: which is better, and the pooled scores of a cross-validation."""

from __future__ import annotations

import argparse

from boneage_jax.analysis.request import CompareRequest, PoolFoldsRequest
from boneage_jax.cli.options import command
from boneage_jax.options import request_of


def add(commands: argparse._SubParsersAction) -> None:
    """Declares them."""
    command(
        commands,
        "compare",
        _compare,
        summary="compare runs on the same images: error of each, paired differences with intervals and p values",
        example="boneage compare runs/m46 runs/resnet50 --out comparison\n"
        "boneage compare runs/a runs/b runs/c --split validation --out comparison    # every two of them\n"
        "boneage compare runs/fine_tuned shipped:age0 --out comparison               # a network of a bundle",
        request=CompareRequest,
    )
    command(
        commands,
        "pool-folds",
        _pool_folds,
        summary="score the runs of a cross-validation together: each image by the run that was not trained on it",
        example="boneage pool-folds runs/fold-0 runs/fold-1 runs/fold-2 --out folds\n\n"
        "one run a fold, trained by boneage train --config.data.folds=3 --config.data.fold=0 and so on",
        request=PoolFoldsRequest,
    )


def _compare(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.analysis import compare_page, compare_report, compare_runs

    request = request_of(CompareRequest, options)
    found = compare_runs.compare_runs(request)
    compare_report.write(found, request.out)
    compare_page.write(found, request.out / compare_page.PAGE)
    print(f"{compare_report.as_text(found)}\ntables and predictions lie in {request.out}")
    print(f"page      {request.out / compare_page.PAGE}")


def _pool_folds(options: argparse.Namespace, _: list[str]) -> None:
    from boneage_jax.analysis import pool_folds, pool_report

    request = request_of(PoolFoldsRequest, options)
    found = pool_folds.pool_folds(request)
    pool_report.write(found, request.out)
    print(f"{pool_report.as_text(found)}\nscores and predictions lie in {request.out}")
    print(f"page      {request.out / pool_report.PAGE}")
